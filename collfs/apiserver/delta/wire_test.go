package delta

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

func message(t testing.TB, fill func(*Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var foo, _ = keepio.ParseLocator("acbd18db4cc2f85cedef654fccc4a4d8+3+A0123@5")

func whole(w *Writer) {
	w.Header(Header{Base: 7, ID: strings.Repeat("1f", 16)})
	w.Section(LocatorSection, AppendLocators(nil, []keepio.Locator{foo, foo}))
	w.Section(Kind(200), []byte("of a later version"))
	w.Section(TreeSection, []byte("tree"))
	w.Section(ChangeSection, []byte("one"))
	w.Section(ChangeSection, bytes.Repeat([]byte("two"), 1<<20))
	w.Section(DataSection, []byte("data"))
}

func TestAMessageIsReadAsItWasWritten(t *testing.T) {
	m, err := Read(bytes.NewReader(message(t, whole)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	want := &Message{
		Header: []byte(`{"base":7,"id":"` + strings.Repeat("1f", 16) + `"}`), Locators: []keepio.Locator{foo, foo},
		Tree: []byte("tree"), Changes: [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 1<<20)}, Data: []byte("data"),
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("Read() = %+v", m)
	}
}

func TestACutMessageIsCut(t *testing.T) {
	data := message(t, func(w *Writer) { w.Header(Header{}); w.Section(ChangeSection, []byte("one")) })
	for n := range data {
		if _, err := Read(bytes.NewReader(data[:n]), 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Read() of %d bytes of %d = %v", n, len(data), err)
		}
	}
}

func TestAMessageHasBounds(t *testing.T) {
	data := message(t, whole)
	for _, limit := range []int64{0, 7, 8, 20, 100, int64(len(data)) - 1} {
		if _, err := Read(bytes.NewReader(data), limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Read() with a limit of %d = %v; want ErrTooLarge", limit, err)
		}
	}
	if _, err := Read(bytes.NewReader(data), int64(len(data))); err != nil {
		t.Errorf("Read() with a limit of all of it = %v", err)
	}
	data = message(t, func(w *Writer) { w.Header(Header{}); w.Section(DataSection, make([]byte, MaxData+1)) })
	if _, err := Read(bytes.NewReader(data), 1<<30); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Read() of too much data = %v", err)
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	for name, data := range map[string]string{
		"another protocol": "HTTP/1.1 200",
		"no header":        magic + "\x03\x01x\x00",
		"nothing":          magic + "\x00",
		"two headers":      magic + "\x01\x02{}\x01\x02{}\x00",
		"two trees":        magic + "\x01\x02{}\x03\x01x\x03\x01x\x00",
		"bad locator":      magic + "\x01\x02{}\x02\x03foo\x00",
		"endless length":   magic + "\x01" + strings.Repeat("\xff", 11),
	} {
		if _, err := Read(strings.NewReader(data), 1<<30); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v; want ErrMessage", name, err)
		}
	}
	for _, id := range []string{"", "1f", strings.Repeat("00", 16), strings.Repeat("1f", 17), strings.Repeat("xx", 16)} {
		if _, err := (Header{ID: id}).ParseID(); err == nil {
			t.Errorf("ParseID of %q is good", id)
		}
	}
}

func TestARecordTravels(t *testing.T) {
	at := time.Unix(1_700_000_000, 123456789).UTC()
	rec := collfs.Record{
		UUID: "u", Owner: "o", Name: "n", Description: "d", Properties: []byte(`{"a":1}`), Revision: 1, Version: 2, PDH: "p",
		Files: 3, Bytes: 4, CreatedAt: at, ModifiedAt: at.Add(1), TrashAt: at.Add(2), DeleteAt: at.Add(3),
	}
	v := reflect.ValueOf(rec)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not tried", v.Type().Field(i).Name)
		}
	}
	for _, want := range []collfs.Record{rec, {UUID: "u", CreatedAt: at, ModifiedAt: at}} {
		m, err := Read(bytes.NewReader(message(t, func(w *Writer) { w.Header(RecordOf(want)) })), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.record(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("record = %+v, %v; want %+v", got, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(message(f, func(w *Writer) {
		w.Header(Header{Base: 1, ID: strings.Repeat("ab", 16)})
		w.Section(LocatorSection, AppendLocators(nil, []keepio.Locator{foo}))
		w.Section(ChangeSection, collfs.AppendOps(nil, []collfs.Op{{Kind: collfs.OpMkdir, Path: "d"}}))
	}))
	f.Add([]byte(magic + "\x01\x02{}\x03\xff\xff\xff\xff\x0fx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data), 1<<20)
		if err != nil {
			return
		}
		_, _ = m.record()
		again := message(t, func(w *Writer) {
			w.Section(HeaderSection, m.Header)
			if len(m.Locators) > 0 {
				w.Section(LocatorSection, AppendLocators(nil, m.Locators))
			}
			if m.Tree != nil {
				w.Section(TreeSection, m.Tree)
			}
			for _, ch := range m.Changes {
				w.Section(ChangeSection, ch)
			}
			if m.Data != nil {
				w.Section(DataSection, m.Data)
			}
		})
		got, err := Read(bytes.NewReader(again), 1<<21)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("written again it is %+v, %v; want %+v", got, err, m)
		}
	})
}
