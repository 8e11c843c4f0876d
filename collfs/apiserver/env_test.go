package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/apiserver"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/apiserver/apitest"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// blocks makes one handle for each block.
type blocks struct{ m sync.Map }

func (b *blocks) ByID(id keepio.BlockID) (*keepio.Block, error) {
	return nil, fmt.Errorf("block %d: %w", id, keepio.ErrNotFound)
}

func (b *blocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	v, _ := b.m.LoadOrStore(hash, keepio.NewStoredBlock(hash, size))
	return v.(*keepio.Block)
}

// An env is a cluster with two users.
type env struct {
	t      testing.TB
	server *apitest.Server
	blocks *blocks
	user   collfs.UUID
	token  string
}

func newEnv(t testing.TB, opt apitest.Options) *env {
	t.Helper()
	e := &env{t: t, server: apitest.New(opt), blocks: new(blocks)}
	t.Cleanup(e.server.Close)
	e.user, e.token = e.server.AddUser("alice", false)
	return e
}

func (e *env) client(token string, conf ...func(*api.Config)) *api.Client {
	e.t.Helper()
	c := api.Config{Host: e.server.URL}
	for _, f := range conf {
		f(&c)
	}
	host, err := api.NewHost(c)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(host.Close)
	return host.Client(token)
}

// catalog returns a new catalog for a token; "": the user's.
func (e *env) catalog(token string, change ...func(*apiserver.Config)) *apiserver.Catalog {
	e.t.Helper()
	if token == "" {
		token = e.token
	}
	conf := apiserver.Config{
		API: e.client(token), Blocks: e.blocks, Locators: &apitest.Locators{Server: e.server, Token: token}, Log: zerolog.Nop(),
	}
	for _, f := range change {
		f(&conf)
	}
	c := apiserver.New(conf)
	e.t.Cleanup(c.Close)
	return c
}

// perUser gives each user a catalog of their own.
type perUser struct {
	*apiserver.Catalog
	of map[collfs.UUID]*apiserver.Catalog
}

func (p *perUser) Shared(ctx context.Context, user collfs.UUID) ([]collfs.Entry, error) {
	return p.of[user].Shared(ctx, user)
}

func (p *perUser) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	return p.of[user].Access(ctx, user, id)
}

func newUUID(kind string) collfs.UUID { return "zzzzz" + memcatalog.NewUUID(kind)[5:] }

// segments are n bytes.
func segments(b *blocks, n byte) []keepio.Segment {
	return []keepio.Segment{{Block: b.ByHash([16]byte{n}, 1000), Off: 1, Len: uint32(n)}}
}

// alsoHook calls a function with each request, besides what was set before.
func (e *env) alsoHook(also func(r *http.Request, body []byte)) {
	before := e.server.GetHook()
	e.server.SetHook(func(r *http.Request, body []byte) apitest.Fault {
		also(r, body)
		if before == nil {
			return apitest.Fault{}
		}
		return before(r, body)
	})
}
