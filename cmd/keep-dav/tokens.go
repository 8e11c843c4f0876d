package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
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
	Env        []string    `json:"environment,omitempty"`
	URL        string      `json:"url,omitempty"` // of the server that made it
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
	Env     bool          `help:"Print lines for the environment of keep-mount, or of another client of Arvados, on this or another machine."`
	URL     string        `placeholder:"URL" help:"With --env: how the server is reached. Default: as the running server says."`
}

func (c *tokenCreateCmd) Help() string {
	return `The token stands for the user: as the password with any user name, as the user
name with any password, or as "Authorization: Bearer TOKEN".

With --env it prints what a shell, or a settings.conf, takes:
  keep-dav token create --env ann > ~/.config/arvados/settings.conf
  env $(keep-dav token create --env ann) keep-mount --home ~/keep

Example:
  curl -H "Authorization: Bearer $(keep-dav token create ann)" http://127.0.0.1:8080/home/`
}

func (c *tokenCreateCmd) Run(ctx context.Context, root *cli) error {
	t, err := call[tokenInfo](ctx, root, "token.create", tokenArgs{User: c.User, Label: c.Label, Expires: c.Expires})
	if err != nil {
		return err
	}
	if c.Env {
		t.Env, err = environment(t, cmp.Or(c.URL, t.URL))
		if err != nil {
			return err
		}
	}
	return show(root, t, func(w io.Writer) {
		if !c.Env {
			fmt.Fprintln(w, t.Token)
		}
		for _, line := range t.Env {
			fmt.Fprintln(w, line)
		}
	})
}

// Validate refuses what would mean nothing.
func (c *tokenCreateCmd) Validate() error {
	if c.URL != "" && !c.Env {
		return errors.New("--url is of no use without --env")
	}
	return nil
}

// environment is how clients find the server at url and get in with a token. The certificate
// of https is our own, unless another one was given: clients are told not to look at it.
func environment(t tokenInfo, at string) ([]string, error) {
	if at == "" {
		return nil, errors.New("no server runs, so how it is reached is not known: start it first, or say --url https://HOST:PORT")
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--url %q: http://HOST:PORT or https://HOST:PORT is expected", at)
	}
	lines := []string{"ARVADOS_API_HOST=" + u.Host, "ARVADOS_API_TOKEN=" + t.Token}
	if u.Scheme == "http" {
		lines[0] = "ARVADOS_API_HOST=http://" + u.Host
		return lines, nil
	}
	return append(lines, "ARVADOS_API_HOST_INSECURE=1"), nil
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
	info.Token, info.URL = text, s.url
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
