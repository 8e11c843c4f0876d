package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/web/arvados"
	"keepdav/web/arvados/delta"
)

// deltaService is for keepdav clients on other machines: trees, changes, commits.
func (s *store) deltaService(api *arvados.API, log zerolog.Logger) *delta.Handler {
	return delta.New(delta.Config{
		FS: s.Files, Access: deltaAccess{s, api}, Signer: s.signer(), Log: log,
		Touch: func(ctx context.Context, hash [16]byte, size uint32) error {
			info, err := s.Blocks.Stat(hash)
			if err == nil && info.Size != int64(size) {
				err = fmt.Errorf("block %x has %d bytes, not %d: %w", hash, info.Size, size, keepio.ErrNotFound)
			}
			if err != nil {
				return err
			}
			return s.Blocks.Touch(hash)
		},
	})
}

// deltaAccess is delta.Access: who may do what by the API may do it here.
type deltaAccess struct {
	s   *store
	api *arvados.API
}

func (a deltaAccess) Who(r *http.Request, id collfs.UUID) (delta.Caller, error) {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token := strings.TrimSpace(rest)
	if token == "" || !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "OAuth2") || r.URL.Query().Has("api_token") {
		return delta.Caller{}, delta.ErrToken
	}
	u, err := a.api.Authorize(r)
	if e, ok := errors.AsType[*arvados.Error](err); ok && e.Status == http.StatusForbidden {
		return delta.Caller{}, fs.ErrPermission
	} else if ok && e.Status == http.StatusUnauthorized || errors.Is(err, fs.ErrNotExist) {
		return delta.Caller{}, delta.ErrToken
	}
	if err != nil {
		return delta.Caller{}, err
	}
	level, err := a.s.SQL.Access(r.Context(), u.UUID, id)
	return delta.Caller{Name: u.Name, Level: level, Token: token}, err
}
