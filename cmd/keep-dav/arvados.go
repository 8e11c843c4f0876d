package main

import (
	"context"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/web/arvados"
	"keepdav/web/arvados/eventbus"
)

// tokenAuth tells the API who presents a token.
type tokenAuth struct{ s *store }

// Authenticate is arvados.Auth.
func (a tokenAuth) Authenticate(ctx context.Context, token string) (arvados.Caller, error) {
	u, t, err := a.s.SQL.TokenUser(ctx, token)
	return arvados.Caller{User: u, Token: t.UUID, Scopes: t.Scopes, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}, err
}

// arvadosAPI is the Arvados API of the store.
func (s *store) arvadosAPI(log zerolog.Logger) *arvados.API {
	api := arvados.New(arvados.Config{Cluster: s.SQL.Meta().Cluster, Auth: tokenAuth{s}, Log: log})
	api.AddCollections(arvados.Collections{
		Files: s.Files, Catalog: s.Gate, Folders: s.SQL, Records: s.SQL, Blocks: s.Spool, Signer: s.signer(),
	})
	api.AddAccounts(s.SQL, func() {
		s.accountsChanged()
		s.Site.ForgetAccess() // which depends on who is active, and an administrator
	})
	api.AddGroups(arvados.Groups{Catalog: s.Gate, Folders: s.SQL, Projects: s.SQL, Records: s.SQL})
	api.AddLinks(arvados.Links{Store: s.SQL, Folders: s.SQL, Changed: s.Site.ForgetAccess})
	api.AddLogs(arvados.Logs{Store: s.SQL, Folders: s.SQL})
	api.AddKeepServices()
	api.AddConfig()
	api.AddDiscovery()
	return api
}

// eventBus tells clients of api of what happens in the store. It has to be closed.
func (s *store) eventBus(api *arvados.API, log zerolog.Logger) *eventbus.Bus {
	return eventbus.New(eventbus.Config{
		Catalog: s.SQL, Cluster: s.SQL.Meta().Cluster, Auth: api.Authorize, Log: log,
		PDH: func(ctx context.Context, id collfs.UUID) (collfs.PDH, error) { return s.SQL.PDH(ctx, id, 0) },
	})
}
