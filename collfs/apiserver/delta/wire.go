package delta

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// ContentType is that of messages.
const ContentType = "application/vnd.keepdav.delta"

// magic begins a message.
const magic = "KDdelta1"

// A Kind says what a section of a message is.
type Kind uint8

// The kinds of sections.
const (
	End Kind = iota
	HeaderSection
	LocatorSection
	TreeSection
	ChangeSection
	DataSection
)

// MaxData is the most bytes of the block that a commit brings along.
const MaxData = 1 << 20

// MaxHeader is the most bytes of a header. It holds the properties of a record.
const MaxHeader = 32 << 20

// ErrMessage is the failure of what should be a message and is not.
var ErrMessage = errors.New("message is malformed")

// A Header says what a commit is.
type Header struct {
	Base int64  `json:"base"`
	ID   string `json:"id"`             // 32 hex digits, of the commit: the same twice is one commit
	Keep bool   `json:"keep,omitempty"` // what it replaces is kept as a version
}

// ParseID reads Header.ID, which must not be zero.
func (h Header) ParseID() (id collfs.ContentID, err error) {
	n, err := hex.Decode(id[:], []byte(h.ID)[:min(len(h.ID), 2*len(id))])
	if err != nil || n != len(id) || len(h.ID) != 2*len(id) || id == (collfs.ContentID{}) {
		return collfs.ContentID{}, fmt.Errorf("%w: id of a commit", ErrMessage)
	}
	return id, nil
}

// A Refusal is what an answer other than 200 says.
type Refusal struct {
	Error    string `json:"error"`
	Kind     string `json:"kind,omitempty"`     // "signature": locators have to be asked for again; "block": one that is named is not there
	Path     string `json:"path,omitempty"`     // of the operation that does not apply
	Revision int64  `json:"revision,omitempty"` // the present one, of 409
}

// A Record is a collfs.Record as it travels.
type Record struct {
	UUID        collfs.UUID     `json:"uuid"`
	Owner       collfs.UUID     `json:"owner_uuid"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Properties  json.RawMessage `json:"properties,omitempty"`
	Revision    int64           `json:"revision"`
	Version     int             `json:"version"`
	PDH         collfs.PDH      `json:"portable_data_hash,omitempty"`
	Files       int64           `json:"file_count"`
	Bytes       int64           `json:"file_size_total"`
	CreatedAt   time.Time       `json:"created_at"`
	ModifiedAt  time.Time       `json:"modified_at"`
	TrashAt     *time.Time      `json:"trash_at,omitempty"`
	DeleteAt    *time.Time      `json:"delete_at,omitempty"`
}

// RecordOf returns r as it travels.
func RecordOf(r collfs.Record) Record {
	opt := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return Record{
		UUID: r.UUID, Owner: r.Owner, Name: r.Name, Description: r.Description, Properties: r.Properties,
		Revision: r.Revision, Version: r.Version, PDH: r.PDH, Files: r.Files, Bytes: r.Bytes,
		CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt, TrashAt: opt(r.TrashAt), DeleteAt: opt(r.DeleteAt),
	}
}

// Record is the inverse of RecordOf.
func (r Record) Record() collfs.Record {
	zero := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return *t
	}
	return collfs.Record{
		UUID: r.UUID, Owner: r.Owner, Name: r.Name, Description: r.Description, Properties: r.Properties,
		Revision: r.Revision, Version: r.Version, PDH: r.PDH, Files: r.Files, Bytes: r.Bytes,
		CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt, TrashAt: zero(r.TrashAt), DeleteAt: zero(r.DeleteAt),
	}
}

// A Writer writes a message. The first error sticks and is that of Close. Not for
// concurrent use.
type Writer struct {
	w   *bufio.Writer
	err error
}

// NewWriter begins a message.
func NewWriter(w io.Writer) *Writer {
	m := &Writer{w: bufio.NewWriterSize(w, 32<<10)}
	_, m.err = m.w.WriteString(magic)
	return m
}

// Section writes a section.
func (m *Writer) Section(k Kind, data []byte) {
	if m.err != nil {
		return
	}
	head := binary.AppendUvarint([]byte{byte(k)}, uint64(len(data)))
	if _, m.err = m.w.Write(head); m.err == nil {
		_, m.err = m.w.Write(data)
	}
}

// Header writes the header.
func (m *Writer) Header(v any) {
	data, err := json.Marshal(v)
	if err != nil && m.err == nil {
		m.err = err
	}
	m.Section(HeaderSection, data)
}

// Close ends the message. It does not close what it was written to.
func (m *Writer) Close() error {
	if m.err == nil {
		m.err = m.w.WriteByte(byte(End))
	}
	if m.err == nil {
		m.err = m.w.Flush()
	}
	return m.err
}

// A Message is one that was read.
type Message struct {
	Header   []byte
	Locators []keepio.Locator
	Tree     []byte
	Changes  [][]byte
	Data     []byte
}

// Read reads a message of at most limit bytes; more is ErrTooLarge. It allocates no
// more than a multiple of what it has read.
func Read(r io.Reader, limit int64) (*Message, error) {
	in := &reader{r: bufio.NewReaderSize(r, 32<<10), left: limit}
	head := make([]byte, len(magic))
	if err := in.full(head); err != nil {
		return nil, err
	}
	if string(head) != magic {
		return nil, ErrMessage
	}
	m := new(Message)
	for {
		k, data, err := in.section()
		if err != nil {
			return nil, err
		}
		if m.Header == nil && k != HeaderSection {
			return nil, fmt.Errorf("%w: no header", ErrMessage)
		}
		if k == End {
			return m, nil
		}
		if err := m.add(k, data); err != nil {
			return nil, err
		}
	}
}

func (m *Message) add(k Kind, data []byte) error {
	again := false
	switch k {
	case HeaderSection:
		again = m.Header != nil
		m.Header = data
	case LocatorSection:
		return m.addLocators(data)
	case TreeSection:
		again = m.Tree != nil
		m.Tree = data
	case ChangeSection:
		m.Changes = append(m.Changes, data)
	case DataSection:
		again = m.Data != nil
		m.Data = data
	}
	if again {
		return fmt.Errorf("%w: section %d is there twice", ErrMessage, k)
	}
	return nil
}

func (m *Message) addLocators(data []byte) error {
	for line := range strings.Lines(string(data)) {
		loc, err := keepio.ParseLocator(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		m.Locators = append(m.Locators, loc)
	}
	return nil
}

// AppendLocators appends locators as they are in a section.
func AppendLocators(buf []byte, locs []keepio.Locator) []byte {
	for _, loc := range locs {
		buf = append(append(buf, loc.String()...), '\n')
	}
	return buf
}

// ErrTooLarge is the failure of a message that is larger than its reader takes.
var ErrTooLarge = errors.New("message is too large")

// A reader reads sections of at most left bytes.
type reader struct {
	r    *bufio.Reader
	left int64
}

// full fills p.
func (in *reader) full(p []byte) error {
	if in.left -= int64(len(p)); in.left < 0 {
		return ErrTooLarge
	}
	_, err := io.ReadFull(in.r, p)
	return cut(err)
}

// ReadByte is io.ByteReader.
func (in *reader) ReadByte() (byte, error) {
	if in.left--; in.left < 0 {
		return 0, ErrTooLarge
	}
	return in.r.ReadByte()
}

func (in *reader) section() (Kind, []byte, error) {
	k, err := in.ReadByte()
	if err != nil || Kind(k) == End {
		return End, nil, cut(err)
	}
	n, err := binary.ReadUvarint(in)
	switch {
	case errors.Is(err, ErrTooLarge):
		return End, nil, err
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return End, nil, fmt.Errorf("%w: length of a section: %w", ErrMessage, err)
	case err != nil:
		return End, nil, cut(err)
	case n > uint64(max(in.left, 0)), Kind(k) == HeaderSection && n > MaxHeader, Kind(k) == DataSection && n > MaxData:
		return End, nil, ErrTooLarge
	}
	in.left -= int64(n)
	data, err := in.bytes(int64(n))
	return Kind(k), data, err
}

// atOnce is how much is allocated for what is only announced.
const atOnce = 1 << 20

// bytes reads n bytes. Room for them is made as they come.
func (in *reader) bytes(n int64) ([]byte, error) {
	if n <= atOnce {
		p := make([]byte, n)
		_, err := io.ReadFull(in.r, p)
		return p, cut(err)
	}
	var buf bytes.Buffer
	buf.Grow(atOnce)
	if _, err := io.CopyN(&buf, in.r, n); err != nil {
		return nil, cut(err)
	}
	return buf.Bytes(), nil
}

// cut is err, or, if it says that nothing more comes, that the message was cut off.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
