package collfs

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// manifestsIn returns the manifests in a recording, at whatever depth.
func manifestsIn(v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && strings.Contains(k, "manifest_text") {
				out = append(out, s)
			} else {
				out = append(out, manifestsIn(x)...)
			}
		}
	case []any:
		for _, x := range v {
			out = append(out, manifestsIn(x)...)
		}
	}
	return out
}

// TestManifestsOfArvadosAreTrees reads what an Arvados cluster wrote. Printing
// may spell it differently, but must mean the same, and be stable.
func TestManifestsOfArvadosAreTrees(t *testing.T) {
	total := 0
	for _, name := range []string{"manifests.json", "api-collections.json"} {
		data, err := os.ReadFile("manifest/testdata/arvados/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		for _, text := range manifestsIn(v) {
			tree, err := ParseManifest([]byte(text), newFakeBlocks())
			if err != nil {
				continue // recorded as examples of what a server refuses
			}
			total++
			printed, err := tree.AppendManifest(nil, nil)
			if err != nil {
				t.Fatalf("AppendManifest of %q: %v", text, err)
			}
			again, err := ParseManifest(printed, newFakeBlocks())
			if err != nil {
				t.Fatalf("ParseManifest(%q) = %v", printed, err)
			}
			if !slices.Equal(show(again), show(tree)) || again.Bytes() != tree.Bytes() {
				t.Errorf("%q prints as %q, another tree", text, printed)
			}
			if third, err := again.AppendManifest(nil, nil); err != nil || string(third) != string(printed) {
				t.Errorf("printing is not stable: %q, then %q", printed, third)
			}
			stored, err := DecodeTree(AppendTree(nil, tree), newFakeBlocks())
			if err != nil || !slices.Equal(show(stored), show(tree)) {
				t.Errorf("checkpoint of %q: %v", text, err)
			}
		}
	}
	if total < 20 {
		t.Errorf("only %d manifests in the recordings", total)
	}
}
