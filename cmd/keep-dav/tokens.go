package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/collfs/sqlite"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make a token for a user, and print it alone."`
	List   tokenListCmd   `cmd:"" help:"List tokens, without their secrets."`
	Revoke tokenRevokeCmd `cmd:"" help:"Make a token worthless."`
	System tokenSystemCmd `cmd:"" help:"Print the token of the store itself."`
}

type tokenSystemCmd struct{}

func (c *tokenSystemCmd) Help() string {
	return `Services of a cluster present it to look after all blocks: GET /index, GET /mounts, TOUCH. It
is good for as long as the store exists, and for nothing else. Whoever has it sees which blocks there are, and
cannot read them.`
}

func (c *tokenSystemCmd) Run(ctx context.Context, root *cli) error {
	t, err := call[tokenInfo](ctx, root, "token.system", none{})
	if err != nil {
		return err
	}
	return show(root, t, func(w io.Writer) { fmt.Fprintln(w, t.Token) })
}

// tokenInfo is a token as commands show it.
type tokenInfo struct {
	Token      string      `json:"token,omitempty"` // whole, only when it was just made
	UUID       collfs.UUID `json:"uuid"`
	User       string      `json:"user"`
	Label      string      `json:"label,omitempty"`
	LabelBytes []byte      `json:"label_base64,omitempty"`
	Created    time.Time   `json:"created_at"`
	Expires    *time.Time  `json:"expires_at,omitempty"`
}

type tokenArgs struct {
	User       string
	Label      string
	LabelBytes []byte `json:",omitempty"`
	UUID       collfs.UUID
	Expires    time.Duration
}

type tokenCreateCmd struct {
	User    string        `arg:"" help:"Login name."`
	Expires time.Duration `placeholder:"DURATION" help:"For how long it is good, such as 720h. Default: until it is revoked."`
	Label   string        `help:"What it is for, to recognise it in the list."`
}

func (c *tokenCreateCmd) Help() string {
	return `The token stands for the user: as the password with any user name, as the user
name with any password, or as "Authorization: Bearer TOKEN".

Example:
  curl -H "Authorization: Bearer $(keep-dav token create ann)" http://127.0.0.1:8080/home/`
}

func (c *tokenCreateCmd) Run(ctx context.Context, root *cli) error {
	t, err := call[tokenInfo](ctx, root, "token.create", tokenArgs{User: c.User, Label: c.Label, Expires: c.Expires})
	if err != nil {
		return err
	}
	return show(root, t, func(w io.Writer) { fmt.Fprintln(w, t.Token) })
}

func createToken(ctx context.Context, s *store, a tokenArgs, _ func(control.Progress)) (tokenInfo, error) {
	u, err := s.UserByName(ctx, a.User)
	if err != nil {
		return tokenInfo{}, err
	}
	if a.Expires < 0 {
		return tokenInfo{}, fmt.Errorf("a token cannot be good for %v", a.Expires)
	}
	var ends time.Time
	if a.Expires > 0 {
		ends = time.Now().Add(a.Expires)
	}
	text, t, err := s.SQL.CreateToken(ctx, u.UUID, nil, a.Label, ends)
	if err != nil {
		return tokenInfo{}, err
	}
	info := tokenInfoOf(t, u.Name)
	info.Token = text
	return info, nil
}

func tokenInfoOf(t sqlite.Token, user string) tokenInfo {
	i := tokenInfo{UUID: t.UUID, User: user, Label: t.Label, Created: t.CreatedAt}
	if !t.ExpiresAt.IsZero() {
		i.Expires = &t.ExpiresAt
	}
	return i
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
		t := newTable(w, "UUID", "USER", "SINCE", "UNTIL", "LABEL")
		for _, k := range tokens {
			until := "revocation"
			if k.Expires != nil {
				until = k.Expires.Local().Format(time.DateTime)
			}
			t.row(k.UUID, k.User, k.Created.Local().Format(time.DateTime), until, k.Label)
		}
		t.end()
	})
}

func listTokens(ctx context.Context, s *store, a tokenArgs, _ func(control.Progress)) ([]tokenInfo, error) {
	var of collfs.UUID
	if a.User != "" {
		u, err := s.UserByName(ctx, a.User)
		if err != nil {
			return nil, err
		}
		of = u.UUID
	}
	tokens, err := s.SQL.ListTokens(ctx, of)
	if err != nil {
		return nil, err
	}
	infos := []tokenInfo{}
	for _, t := range tokens {
		u, err := s.SQL.User(ctx, t.User)
		if err != nil {
			return nil, err
		}
		infos = append(infos, tokenInfoOf(t, u.Name))
	}
	return infos, nil
}

type tokenRevokeCmd struct {
	UUID string `arg:"" help:"The token's UUID, or the token itself."`
}

func (c *tokenRevokeCmd) Run(ctx context.Context, root *cli) error {
	id := collfs.UUID(c.UUID)
	if parts := strings.Split(c.UUID, "/"); len(parts) == 3 && parts[0] == "v2" {
		id = collfs.UUID(parts[1])
	}
	if _, err := call[none](ctx, root, "token.revoke", tokenArgs{UUID: id}); err != nil {
		return err
	}
	return show(root, tokenInfo{UUID: id}, func(w io.Writer) { fmt.Fprintf(w, "token %s revoked\n", id) })
}

func revokeToken(ctx context.Context, s *store, a tokenArgs, _ func(control.Progress)) (none, error) {
	defer s.accountsChanged()
	return none{}, s.SQL.RevokeToken(ctx, a.UUID)
}
