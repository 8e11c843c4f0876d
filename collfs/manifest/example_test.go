package manifest_test

import (
	"errors"
	"fmt"
	"os"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

func ExampleScan() {
	text := ". acbd18db4cc2f85cedef654fccc4a4d8+3 37b51d194a7513e45b56f6524f2d51f2+3 0:4:my\\040file 4:2:rest\n"
	err := manifest.Scan(text, func(s *manifest.Stream) error {
		for _, f := range s.Files {
			spans, err := s.Resolve(nil, f.Pos, f.Size)
			if err != nil {
				return err
			}
			fmt.Printf("%s/%s\n", s.Name, f.Name)
			for _, sp := range spans {
				fmt.Println("  ", s.Locators[sp.Block].Bare(), sp.Offset, sp.Length)
			}
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// ./my file
	//    acbd18db4cc2f85cedef654fccc4a4d8+3 0 3
	//    37b51d194a7513e45b56f6524f2d51f2+3 0 1
	// ./rest
	//    37b51d194a7513e45b56f6524f2d51f2+3 1 2
	// <nil>
}

func ExampleWriter() {
	foo, err := keepio.ParseLocator("acbd18db4cc2f85cedef654fccc4a4d8+3")
	w := manifest.NewWriter(os.Stdout)
	err = errors.Join(err,
		w.Dir(""),
		w.File("a b", []manifest.Segment{{Locator: foo, Length: 3}}),
		w.File("empty", nil),
		w.Dir("empty dir"),
		w.Close())
	fmt.Println(err)
	// Output:
	// . acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:a\040b 0:0:empty
	// ./empty\040dir d41d8cd98f00b204e9800998ecf8427e+0 0:0:\056
	// <nil>
}
