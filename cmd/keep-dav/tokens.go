package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"keepdav/collfs"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make a token for a user, and print it alone."`
	List   tokenListCmd   `cmd:"" help:"List tokens, without their secrets."`
	Revoke tokenRevokeCmd `cmd:"" help:"Make a token worthless."`
}

// tokenInfo is a token as commands show it.
type tokenInfo struct {
	Token   string      `json:"token,omitempty"` // whole, only when it was just made
	UUID    collfs.UUID `json:"uuid"`
	User    string      `json:"user"`
	Created time.Time   `json:"created_at"`
	Expires *time.Time  `json:"expires_at,omitempty"`
}

type tokenArgs struct {
	User    string
	UUID    collfs.UUID
	Expires time.Duration
}

type tokenCreateCmd struct {
	User    string        `arg:"" help:"Login name."`
	Expires time.Duration `placeholder:"DURATION" help:"For how long it is good, such as 720h. Default: until it is revoked."`
}

func (c *tokenCreateCmd) Help() string {
	return `The token stands for the user: as the password with any user name, as the user
name with any password, or as "Authorization: Bearer TOKEN".

Example:
  curl -H "Authorization: Bearer $(keep-dav token create ann)" http://127.0.0.1:8080/home/`
}

func (c *tokenCreateCmd) Run(ctx context.Context, root *cli) error {
	t, err := call[tokenInfo](ctx, root, "token.create", tokenArgs{User: c.User, Expires: c.Expires})
	if err != nil {
		return err
	}
	return show(root, t, func(w io.Writer) { fmt.Fprintln(w, t.Token) })
}

func createToken(ctx context.Context, s *store, a tokenArgs, _ func(progress)) (tokenInfo, error) {
	u, err := s.userByName(ctx, a.User)
	if err != nil {
		return tokenInfo{}, err
	}
	if a.Expires < 0 {
		return tokenInfo{}, fmt.Errorf("a token cannot be good for %v", a.Expires)
	}
	return s.newToken(ctx, u, a.Expires)
}

type tokenListCmd struct {
	User string `arg:"" optional:"" help:"Login name; default: all users."`
}

func (c *tokenListCmd) Run(ctx context.Context, root *cli) error {
	tokens, err := call[[]tokenInfo](ctx, root, "token.list", tokenArgs{User: c.User})
	if err != nil {
		return err
	}
	return show(root, tokens, func(w io.Writer) {
		t := newTable(w, "UUID", "USER", "SINCE", "UNTIL")
		for _, k := range tokens {
			until := "revocation"
			if k.Expires != nil {
				until = k.Expires.Local().Format(time.DateTime)
			}
			t.row(k.UUID, k.User, k.Created.Local().Format(time.DateTime), until)
		}
		t.end()
	})
}

func listTokens(ctx context.Context, s *store, a tokenArgs, _ func(progress)) ([]tokenInfo, error) {
	return s.tokens(ctx, a.User)
}

type tokenRevokeCmd struct {
	UUID string `arg:"" help:"The token's UUID, or the token itself."`
}

func (c *tokenRevokeCmd) Run(ctx context.Context, root *cli) error {
	id := tokenUUID(c.UUID)
	if _, err := call[none](ctx, root, "token.revoke", tokenArgs{UUID: id}); err != nil {
		return err
	}
	return show(root, tokenInfo{UUID: id}, func(w io.Writer) { fmt.Fprintf(w, "token %s revoked\n", id) })
}

func revokeToken(ctx context.Context, s *store, a tokenArgs, _ func(progress)) (none, error) {
	defer s.accountsChanged()
	return none{}, s.sql.RevokeToken(ctx, a.UUID)
}
