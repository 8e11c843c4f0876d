package davfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"keepdav/collfs"
)

// A project's loose files are kept in the first of these of its collections
// that has the property looseProperty. A collection of one of these names
// without it is a user's own, so is one that has been renamed to another name.
var looseNames = []string{"Loose files", "Loose files (2)", "Loose files (3)", "Loose files (4)"}

const looseProperty = "keepdav:loose_files"

func looseProperties() json.RawMessage { return json.RawMessage(`{"` + looseProperty + `":true}`) }

func isLooseRecord(r *collfs.Record) bool {
	if r == nil || len(r.Properties) == 0 {
		return false
	}
	var p map[string]any
	return json.Unmarshal(r.Properties, &p) == nil && p[looseProperty] == true
}

// looseOf finds the collection of a project's loose files, if it has one.
func (s *Site) looseOf(ctx context.Context, project collfs.UUID) (child, error) {
	s.names.mu.RLock()
	f, gen := s.names.folders[project], s.names.gen
	if f != nil && f.hasLoose {
		k := f.loose
		s.names.mu.RUnlock()
		return k, nil
	}
	s.names.mu.RUnlock()
	var found child
	for _, name := range looseNames {
		e, err := s.conf.Folders.Lookup(ctx, project, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return child{}, err
		}
		if err == nil && isLooseRecord(e.Collection) {
			found = childOf(e)
			break
		}
	}
	s.names.update(project, gen, func(f *folder) { f.loose, f.hasLoose = found, true })
	return found, nil
}

// makeLoose is looseOf, and makes the collection if there is none.
func (f *FS) makeLoose(ctx context.Context, project collfs.UUID) (collfs.UUID, error) {
	unlock := f.site.lockFolders(project)
	defer unlock()
	f.site.forget(project)
	k, err := f.site.looseOf(ctx, project)
	if err != nil || k.kind == isCollection {
		return k.uuid, err
	}
	id := f.site.conf.Files.NewUUID("4zz18")
	for _, name := range looseNames {
		_, err = f.site.conf.Catalog.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{
			Kind: collfs.CreateCollection, UUID: id, Owner: project, Name: name, Properties: looseProperties(),
		}}})
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	f.site.forget(project)
	if err != nil {
		return "", fmt.Errorf("make a collection for files put into the project: %w", err)
	}
	return id, nil
}

// isLoose reports whether a collection in a project has its loose files.
func (s *Site) isLoose(ctx context.Context, project, id collfs.UUID) (bool, error) {
	k, err := s.looseOf(ctx, project)
	return k.kind == isCollection && k.uuid == id, err
}
