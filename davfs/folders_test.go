package davfs

import (
	"fmt"
	"strings"
	"testing"

	"keepdav/collfs"
)

// Whoever may read a project can ask for any name in it.
func TestFolderCacheIsBounded(t *testing.T) {
	var c folderCache
	c.init()
	for _, project := range []collfs.UUID{"a", "b", "c"} {
		for n := range maxNames - 1 {
			c.put(project, fmt.Sprint(n), child{}, 0)
		}
		c.put(project, strings.Repeat("x", collfs.MaxName+1), child{}, 0)
	}
	names, longest := 0, 0
	for _, f := range c.folders {
		names += len(f.names)
		for name := range f.names {
			longest = max(longest, len(name))
		}
	}
	if names > maxNames || longest > collfs.MaxName {
		t.Errorf("%d names of up to %d bytes are remembered; want at most %d of %d", names, longest, maxNames, collfs.MaxName)
	}
	if _, _, ok := c.get("c", "7"); !ok {
		t.Error("what came last is not remembered")
	}
	c.drop("c")
	c.drop("b")
	c.drop("a")
	if c.total != 0 {
		t.Errorf("%d names are counted in an empty cache", c.total)
	}
}
