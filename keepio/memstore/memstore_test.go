package memstore_test

import (
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/memstore"
	"keepdav/keepio/storetest"
)

func TestMemstoreIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) keepio.Store { return new(memstore.Store) })
}
