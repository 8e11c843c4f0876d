package manifest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"keepdav/keepio"
)

const benchFiles = 1_000_000

// packed has a million small files packed into large blocks, flat is the same
// with a signed block for each file, nested has ten files in each directory.
func benchTexts() map[string]string {
	var packed, flat, nested strings.Builder
	blocks := make([]string, 64)
	for i := range blocks {
		blocks[i] = keepio.MakeLocator([16]byte{byte(i)}, keepio.BlockSize).String()
	}
	const perDir = 10_000
	for d := range benchFiles / perDir {
		fmt.Fprintf(&packed, "./directory%04d %s", d, blocks[d%len(blocks)])
		for i := range perDir {
			fmt.Fprintf(&packed, " %d:%d:some\\040file-%07d.txt", i*4096, 4000, i)
		}
		packed.WriteByte('\n')
	}
	flat.WriteString(".")
	for i := range benchFiles {
		flat.WriteByte(' ')
		flat.WriteString(keepio.MakeLocator([16]byte{byte(i), byte(i >> 8), byte(i >> 16)}, 4096).String() + sig)
	}
	for i := range benchFiles {
		fmt.Fprintf(&flat, " %d:4096:file-%07d.txt", i*4096, i)
	}
	flat.WriteByte('\n')
	for d := range benchFiles / 10 {
		fmt.Fprintf(&nested, "./a/b/directory%06d %s", d, blocks[d%len(blocks)])
		for i := range 10 {
			fmt.Fprintf(&nested, " %d:%d:file-%07d.txt", i*4096, 4000, i)
		}
		nested.WriteByte('\n')
	}
	return map[string]string{"packed": packed.String(), "flat-signed": flat.String(), "nested": nested.String()}
}

func eachText(b *testing.B, run func(b *testing.B, text string)) {
	for name, text := range benchTexts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			run(b, text)
		})
	}
}

func BenchmarkScanMillionFiles(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		for b.Loop() {
			files := 0
			if err := Scan(text, func(s *Stream) error { files += len(s.Files); return nil }); err != nil || files != benchFiles {
				b.Fatal(files, err)
			}
		}
	})
}

func BenchmarkScanAndResolveMillionFiles(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		var spans []Span
		for b.Loop() {
			err := Scan(text, func(s *Stream) (err error) {
				for _, f := range s.Files {
					if spans, err = s.Resolve(spans[:0], f.Pos, f.Size); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParseMillionFiles(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		for b.Loop() {
			if _, err := Parse(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPrintMillionFiles(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		m, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 0, len(text))
		for b.Loop() {
			buf = m.AppendTo(buf[:0])
		}
	})
}

func BenchmarkWriteMillionFiles(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		m, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			w := NewWriter(io.Discard)
			var segs []Segment
			var spans []Span
			for i := range m.Streams {
				s := &m.Streams[i]
				if err := w.Dir(s.Dir()); err != nil {
					b.Fatal(err)
				}
				for _, f := range s.Files {
					spans, _ = s.Resolve(spans[:0], f.Pos, f.Size)
					segs = segs[:0]
					for _, sp := range spans {
						segs = append(segs, Segment{s.Locators[sp.Block], sp.Offset, sp.Length})
					}
					if err := w.File(f.Name, segs); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPDH(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		for b.Loop() {
			PDH(text)
		}
	})
}

func BenchmarkStrip(b *testing.B) {
	eachText(b, func(b *testing.B, text string) {
		for b.Loop() {
			Strip(text)
		}
	})
}
