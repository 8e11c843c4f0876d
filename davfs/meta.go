package davfs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// metaCollectionJSON is the record of a collection as the API of Arvados shows it.
type metaCollectionJSON struct {
	Kind        string          `json:"kind"`
	UUID        collfs.UUID     `json:"uuid"`
	Owner       collfs.UUID     `json:"owner_uuid"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Properties  json.RawMessage `json:"properties"`
	CreatedAt   time.Time       `json:"created_at"`
	ModifiedAt  time.Time       `json:"modified_at"`
	TrashAt     *time.Time      `json:"trash_at"`
	DeleteAt    *time.Time      `json:"delete_at"`
	Version     int             `json:"version"`
	Current     collfs.UUID     `json:"current_version_uuid"`
	PDH         collfs.PDH      `json:"portable_data_hash"`
	Files       int64           `json:"file_count"`
	Bytes       int64           `json:"file_size_total"`
	Manifest    string          `json:"manifest_text"`
}

type metaProjectJSON struct {
	Kind       string      `json:"kind"`
	UUID       collfs.UUID `json:"uuid"`
	Owner      collfs.UUID `json:"owner_uuid"`
	Name       string      `json:"name"`
	GroupClass string      `json:"group_class"`
	CreatedAt  time.Time   `json:"created_at"`
	ModifiedAt time.Time   `json:"modified_at"`
	TrashAt    *time.Time  `json:"trash_at"`
}

// metaTmpJSON is a collection without a record as Arvados' mount shows it.
type metaTmpJSON struct {
	Manifest string     `json:"manifest_text"`
	PDH      collfs.PDH `json:"portable_data_hash"`
	Classes  []string   `json:"storage_classes_desired"`
	UUID     *struct{}  `json:"uuid"` // null
}

// TmpMeta makes the hidden file .arvados#collection of a collection without a
// record, in JSON with a newline: what a record would be made from. Blocks that its
// manifest names are stored then, for as long as garbage collection leaves alone
// what nobody refers to. classes are the storage classes that a record would ask for.
func TmpMeta(ctx context.Context, t *collfs.Tmp, classes []string) ([]byte, error) {
	text, err := t.Collection().Manifest(ctx)
	if err != nil {
		return nil, pathError("read", metaCollection, err)
	}
	if classes == nil {
		classes = []string{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(metaTmpJSON{Manifest: string(text), PDH: pdhOf(text), Classes: classes}); err != nil {
		return nil, pathError("read", metaCollection, err)
	}
	return b.Bytes(), nil
}

// The manifest of a collection of largeRecord files, or of as many blocks, takes
// megabytes, several times over while it is made. maxLarge of them are in memory at once, until they are
// sent; others wait.
const (
	largeRecord = 10_000
	maxLarge    = 4
)

// metaSlot waits until the hidden file of p may be made. The caller must call done
// when it has let go of it.
func (f *FS) metaSlot(ctx context.Context, p place) (done func(), err error) {
	if p.isMetaOfProject() {
		return func() {}, nil
	}
	c, err := f.open(ctx, &p)
	if err != nil {
		return nil, err
	}
	r, err := c.Record(ctx)
	c.Release()
	if err != nil || r.Files+r.Bytes/keepio.BlockSize < largeRecord {
		return func() {}, err
	}
	select {
	case f.site.large <- struct{}{}:
		return sync.OnceFunc(func() { <-f.site.large }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Meta makes the hidden file of a collection or project, .arvados#collection or
// .arvados#project: the record in JSON, with a newline. It shows what is not
// committed yet, what open files have written too; the blocks that its manifest
// names are stored then. Another name is fs.ErrInvalid. Where it is large, a few are
// made at once, others wait.
func (f *FS) Meta(ctx context.Context, name string) ([]byte, Info, error) {
	data, i, err := f.meta(exactly(ctx), name)
	if err != nil {
		return nil, Info{}, pathError("read", name, err)
	}
	return data, i, nil
}

func (f *FS) meta(ctx context.Context, name string) ([]byte, Info, error) {
	p, err := f.resolveOld(ctx, name)
	if err != nil {
		return nil, Info{}, err
	}
	if p.kind != atMetaFile {
		return nil, Info{}, fs.ErrInvalid
	}
	done, err := f.metaSlot(ctx, p)
	if err != nil {
		return nil, Info{}, err
	}
	defer done()
	return f.metaFile(ctx, p)
}

// metaFile makes the hidden file that shows a record: its JSON and a newline.
func (f *FS) metaFile(ctx context.Context, p place) ([]byte, Info, error) {
	var v any
	var modified time.Time
	var err error
	if p.isMetaOfProject() {
		v, modified, err = f.metaProject(ctx, p)
	} else {
		v, modified, err = f.metaCollection(ctx, p)
	}
	if err != nil {
		return nil, Info{}, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, Info{}, fmt.Errorf("record %s: %w", p.uuid, err)
	}
	data = append(data, '\n')
	i := Info{
		Name: baseName(p.name), Size: int64(len(data)), ModTime: modified, Content: contentOf(data),
		Collection: p.uuid, Path: baseName(p.name), ReadOnly: true, Entries: -1,
	}
	return data, i, nil
}

func (f *FS) metaProject(ctx context.Context, p place) (any, time.Time, error) {
	e, err := f.site.conf.Folders.Entry(ctx, p.uuid)
	if err != nil {
		return nil, time.Time{}, err
	}
	r := e.Project
	if r == nil {
		return nil, time.Time{}, fs.ErrNotExist
	}
	return metaProjectJSON{
		Kind: "arvados#group", UUID: r.UUID, Owner: r.Owner, Name: r.Name, GroupClass: "project",
		CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt, TrashAt: orNull(r.TrashAt),
	}, r.ModifiedAt, nil
}

// metaCollection computes the manifest, so it waits for the data to be stored.
// It shows changes that are not committed yet.
func (f *FS) metaCollection(ctx context.Context, p place) (any, time.Time, error) {
	c, err := f.open(ctx, &p)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer c.Release()
	text, err := c.Manifest(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	r, err := c.Record(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	props := r.Properties
	if len(props) == 0 {
		props = json.RawMessage("{}")
	}
	return metaCollectionJSON{
		Kind: "arvados#collection", UUID: r.UUID, Owner: r.Owner, Name: r.Name, Description: r.Description, Properties: props,
		CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt, TrashAt: orNull(r.TrashAt), DeleteAt: orNull(r.DeleteAt),
		Version: r.Version, Current: r.UUID, PDH: pdhOf(text), Files: r.Files, Bytes: r.Bytes, Manifest: string(text),
	}, r.ModifiedAt, nil
}

func pdhOf(manifest []byte) collfs.PDH {
	return collfs.PDH(fmt.Sprintf("%x+%d", md5.Sum(manifest), len(manifest)))
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
