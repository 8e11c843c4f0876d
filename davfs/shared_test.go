package davfs

import (
	"fmt"
	"testing"

	"keepdav/collfs"
)

func TestPDHsAreDroppedWithTheirCollection(t *testing.T) {
	var c pdhCache
	key := func(i int) pdhKey { return pdhKey{"user", collfs.PDH(fmt.Sprint(i))} }
	c.put(key(1), pdhFound{uuid: "a"})
	c.put(key(2), pdhFound{uuid: "a"})
	c.put(key(3), pdhFound{uuid: "b"})
	c.put(key(1), pdhFound{uuid: "b"}) // it was found elsewhere
	c.drop("nothing")
	c.drop("a")
	if len(c.found) != 2 || c.found[key(1)].uuid != "b" || c.found[key(3)].uuid != "b" {
		t.Errorf("after drop(a): %v; want those of b", c.found)
	}
	c.drop("b")
	if len(c.found) != 0 || len(c.of) != 0 {
		t.Errorf("after drop(b): %v, %v; want nothing", c.found, c.of)
	}
	for i := range 3 * maxPDHs {
		c.put(key(i), pdhFound{uuid: collfs.UUID(fmt.Sprint(i % 1000))})
		keys := 0
		for _, k := range c.of {
			keys += len(k)
		}
		if i%999 == 0 && (len(c.found) > maxPDHs || keys != len(c.found)) {
			t.Fatalf("%d hashes, %d keys; want at most %d, and as many", len(c.found), keys, maxPDHs)
		}
	}
	c.clear()
	if len(c.found) != 0 || len(c.of) != 0 {
		t.Error("clear() leaves something")
	}
}
