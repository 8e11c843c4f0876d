package manifest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"keepdav/keepio"
)

func TestResolveFindsTheBlocksOfASegment(t *testing.T) {
	m, err := Parse(strings.Join([]string{".", empty, foo, empty, empty, bar, foo, foo, empty, "0:12:f"}, " ") + "\n")
	if err != nil {
		t.Fatal(err)
	}
	s := &m.Streams[0]
	for _, c := range []struct {
		pos, size int64
		want      []Span
	}{
		{0, 0, nil},
		{12, 0, nil},
		{3, 0, nil},
		{0, 1, []Span{{1, 0, 1}}},
		{2, 1, []Span{{1, 2, 1}}},
		{0, 3, []Span{{1, 0, 3}}},
		{3, 3, []Span{{4, 0, 3}}},
		{2, 2, []Span{{1, 2, 1}, {4, 0, 1}}},
		{2, 8, []Span{{1, 2, 1}, {4, 0, 3}, {5, 0, 3}, {6, 0, 1}}},
		{0, 12, []Span{{1, 0, 3}, {4, 0, 3}, {5, 0, 3}, {6, 0, 3}}},
		{11, 1, []Span{{6, 2, 1}}},
	} {
		got, err := s.Resolve(nil, c.pos, c.size)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Resolve(%d, %d) = %v, %v; want %v", c.pos, c.size, got, err, c.want)
		}
	}
	for _, c := range [][2]int64{{0, 13}, {12, 1}, {13, 0}, {-1, 1}, {0, -1}, {1 << 62, 1 << 62}, {1<<63 - 1, 1<<63 - 1}} {
		if got, err := s.Resolve(nil, c[0], c[1]); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("Resolve(%d, %d) = %v, %v; want an error", c[0], c[1], got, err)
		}
	}
}

func TestResolveAgreesWithCountingBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s Stream // put together, not read
		type at struct {
			block int
			off   int64
		}
		var bytes []at
		for i := range 1 + rnd.IntN(8) {
			size := int64(rnd.IntN(5))
			s.Locators = append(s.Locators, keepio.MakeLocator([16]byte{byte(rnd.IntN(3))}, size))
			for off := range size {
				bytes = append(bytes, at{i, off})
			}
		}
		for pos := range len(bytes) + 1 {
			for size := range len(bytes) - pos + 1 {
				spans, err := s.Resolve(nil, int64(pos), int64(size))
				if err != nil {
					t.Fatal(err)
				}
				var got []at
				for _, sp := range spans {
					if sp.Length == 0 {
						t.Errorf("Resolve(%d, %d) of %v has an empty span", pos, size, s.Locators)
					}
					for off := range sp.Length {
						got = append(got, at{sp.Block, sp.Offset + off})
					}
				}
				if want := bytes[pos : pos+size]; len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
					t.Errorf("Resolve(%d, %d) of %v = %v; want %v", pos, size, s.Locators, got, want)
				}
			}
		}
	}
}
