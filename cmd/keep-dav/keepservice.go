package main

import (
	"context"
	"crypto/subtle"
	"strings"

	"keepdav/cmd/internal/control"
	"keepdav/web/arvados/keep"
	"keepdav/web/arvados/signing"
)

// signer signs permissions to read blocks of the store.
func (s *store) signer() *signing.Signer { return signing.New(s.SQL.Meta().Secret) }

// systemToken is the token of the store itself.
func (s *store) systemToken() string {
	meta := s.SQL.Meta()
	return signing.SystemToken(meta.Secret, meta.Cluster)
}

// keepService is the Keep service of the store.
func (s *store) keepService(maxUploads int) *keep.Handler {
	system := s.systemToken()
	return keep.New(keep.Config{
		Blocks: s.Blocks, Signer: s.signer(), Cluster: s.SQL.Meta().Cluster, MaxUploads: maxUploads,
		Caller: func(ctx context.Context, token string) (keep.Caller, error) {
			if subtle.ConstantTimeCompare([]byte(token), []byte(system)) == 1 {
				return keep.Caller{Name: "system", Write: true, Admin: true}, nil
			}
			u, t, err := s.SQL.Authenticate(ctx, token)
			if err != nil {
				return keep.Caller{}, err
			}
			all := false
			c := keep.Caller{Name: u.Name}
			for _, scope := range t.Scopes {
				all = all || scope == "all"
				c.Write = c.Write || storesBlocks(scope)
			}
			c.Admin = all && u.Admin
			return c, nil
		},
	})
}

// storesBlocks reports whether a token with that scope may store blocks: whoever
// may do everything, or change collections.
func storesBlocks(scope string) bool {
	method, path, _ := strings.Cut(scope, " ")
	switch method {
	case "all":
		return path == ""
	case "POST", "PUT", "PATCH":
		return path == "/arvados/v1/collections" || strings.HasPrefix(path, "/arvados/v1/collections/")
	}
	return false
}

func showSystemToken(_ context.Context, s *store, _ none, _ func(control.Progress)) (tokenInfo, error) {
	return tokenInfo{Token: s.systemToken(), User: "system"}, nil
}
