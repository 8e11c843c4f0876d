package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/web/auth"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user."`
	List    userListCmd    `cmd:"" help:"List users."`
	Passwd  userPasswdCmd  `cmd:"" help:"Give a user another password."`
	Disable userDisableCmd `cmd:"" help:"Let a user not log in any more; what is theirs stays."`
	Enable  userEnableCmd  `cmd:"" help:"Let a disabled user log in again."`
	Remove  userRemoveCmd  `cmd:"" help:"Remove a user who owns nothing any more."`
}

// userInfo is a user as commands show it.
type userInfo struct {
	UUID          collfs.UUID `json:"uuid"`
	Name          string      `json:"name"`
	FullName      string      `json:"full_name,omitempty"`
	FullNameBytes []byte      `json:"full_name_base64,omitempty"`
	Admin         bool        `json:"admin"`
	Active        bool        `json:"active"`
	Created       time.Time   `json:"created_at"`
	Password      string      `json:"password,omitempty"` // when it was made up
}

func infoOf(u collfs.User) userInfo {
	return userInfo{UUID: u.UUID, Name: u.Name, FullName: u.FullName, Admin: u.Admin, Active: u.Active, Created: u.CreatedAt}
}

type userAddCmd struct {
	Name     string `arg:"" help:"Login name."`
	FullName string `help:"The person's name."`
	Admin    bool   `help:"Make the user an administrator, who may see and change everything."`
	Random   bool   `help:"Make up a password and print it, instead of asking for one."`
}

func (c *userAddCmd) Help() string {
	return `The password is asked for on a terminal, else it is the first line of the standard input.

Examples:
  keep-dav user add ann --full-name "Ann Example"
  keep-dav user add robot --random`
}

type userArgs struct {
	Name, FullName, Password     string
	FullNameBytes, PasswordBytes []byte `json:",omitempty"`
	Admin, Active                bool
}

func (c *userAddCmd) Run(ctx context.Context, root *cli) error {
	password, made, err := newPassword(ctx, c.Random)
	if err != nil {
		return err
	}
	u, err := call[userInfo](ctx, root, "user.add", userArgs{Name: c.Name, FullName: c.FullName, Password: password, Admin: c.Admin})
	if err != nil {
		return err
	}
	u.Password = made
	return show(root, u, func(w io.Writer) {
		fmt.Fprintf(w, "user %s added (%s)\n", u.Name, u.UUID)
		if made != "" {
			fmt.Fprintf(w, "password: %s\n", made)
		}
	})
}

func addUser(ctx context.Context, s *store, a userArgs, _ func(control.Progress)) (userInfo, error) {
	hash, err := auth.HashPassword(ctx, a.Password)
	if err != nil {
		return userInfo{}, err
	}
	u, err := s.SQL.CreateUser(ctx, a.Name, a.FullName, hash, a.Admin)
	return infoOf(u), err
}

type userListCmd struct{}

func (c *userListCmd) Run(ctx context.Context, root *cli) error {
	users, err := call[[]userInfo](ctx, root, "user.list", none{})
	if err != nil {
		return err
	}
	return show(root, users, func(w io.Writer) {
		t := newTable(w, "NAME", "UUID", "RIGHTS", "SINCE", "FULL NAME")
		for _, u := range users {
			rights := "user"
			if u.Admin {
				rights = "admin"
			}
			if !u.Active {
				rights = "disabled"
			}
			t.row(u.Name, u.UUID, rights, u.Created.Local().Format(time.DateOnly), u.FullName)
		}
		t.end()
	})
}

func listUsers(ctx context.Context, s *store, _ none, _ func(control.Progress)) ([]userInfo, error) {
	users, err := s.SQL.ListUsers(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]userInfo, len(users))
	for i, u := range users {
		infos[i] = infoOf(u)
	}
	return infos, nil
}

type userPasswdCmd struct {
	Name   string `arg:"" help:"Login name."`
	Random bool   `help:"Make up a password and print it."`
}

func (c *userPasswdCmd) Run(ctx context.Context, root *cli) error {
	password, made, err := newPassword(ctx, c.Random)
	if err != nil {
		return err
	}
	u, err := call[userInfo](ctx, root, "user.passwd", userArgs{Name: c.Name, Password: password})
	if err != nil {
		return err
	}
	u.Password = made
	return show(root, u, func(w io.Writer) {
		fmt.Fprintf(w, "user %s has a new password\n", c.Name)
		if made != "" {
			fmt.Fprintf(w, "password: %s\n", made)
		}
	})
}

func setPassword(ctx context.Context, s *store, a userArgs, _ func(control.Progress)) (userInfo, error) {
	u, err := s.UserByName(ctx, a.Name)
	if err != nil {
		return userInfo{}, err
	}
	hash, err := auth.HashPassword(ctx, a.Password)
	if err != nil {
		return userInfo{}, err
	}
	defer s.accountsChanged()
	return infoOf(u), s.SQL.SetPassword(ctx, u.UUID, hash)
}

type userDisableCmd struct {
	Name string `arg:"" help:"Login name."`
}

func (c *userDisableCmd) Run(ctx context.Context, root *cli) error {
	return setActiveCall(ctx, root, c.Name, false)
}

type userEnableCmd struct {
	Name string `arg:"" help:"Login name."`
}

func (c *userEnableCmd) Run(ctx context.Context, root *cli) error {
	return setActiveCall(ctx, root, c.Name, true)
}

func setActiveCall(ctx context.Context, root *cli, name string, active bool) error {
	u, err := call[userInfo](ctx, root, "user.active", userArgs{Name: name, Active: active})
	if err != nil {
		return err
	}
	return show(root, u, func(w io.Writer) {
		fmt.Fprintf(w, "user %s may %slog in\n", name, map[bool]string{false: "not "}[active])
	})
}

func setActive(ctx context.Context, s *store, a userArgs, _ func(control.Progress)) (userInfo, error) {
	u, err := s.UserByName(ctx, a.Name)
	if err != nil {
		return userInfo{}, err
	}
	defer s.accountsChanged()
	u.Active = a.Active
	if err := s.SQL.SetActive(ctx, u.UUID, a.Active); err != nil {
		return userInfo{}, fmt.Errorf("user %q: %w", a.Name, err)
	}
	return infoOf(u), nil
}

type userRemoveCmd struct {
	Name string `arg:"" help:"Login name."`
}

func (c *userRemoveCmd) Run(ctx context.Context, root *cli) error {
	u, err := call[userInfo](ctx, root, "user.remove", userArgs{Name: c.Name})
	if err != nil {
		return err
	}
	return show(root, u, func(w io.Writer) { fmt.Fprintf(w, "user %s removed\n", c.Name) })
}

func removeUser(ctx context.Context, s *store, a userArgs, _ func(control.Progress)) (userInfo, error) {
	u, err := s.UserByName(ctx, a.Name)
	if err != nil {
		return userInfo{}, err
	}
	defer s.accountsChanged()
	if err := s.SQL.DeleteUser(ctx, u.UUID); err != nil {
		return userInfo{}, fmt.Errorf("user %q: %w", a.Name, err)
	}
	return infoOf(u), nil
}

// newPassword asks for a password, twice on a terminal, or makes one up.
func newPassword(ctx context.Context, random bool) (password, made string, err error) {
	if random {
		p := auth.RandomPassword()
		return p, p, nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, auth.MaxPassword+2)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", "", fmt.Errorf("read the password: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", "", errors.New("a password is expected on the standard input, or use --random")
		}
		return line, "", nil
	}
	state, err := term.GetState(in)
	if err != nil {
		return "", "", fmt.Errorf("read the password: %w", err)
	}
	// Nothing ends the read of a terminal, and it has to show again what is typed.
	defer context.AfterFunc(ctx, func() {
		term.Restore(in, state)
		fmt.Fprintln(os.Stderr)
		os.Exit(1)
	})()
	var got [2]string
	for i, prompt := range []string{"New password: ", "Once more: "} {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", "", fmt.Errorf("read the password: %w", err)
		}
		got[i] = string(b)
	}
	if got[0] != got[1] {
		return "", "", errors.New("the two passwords are not the same")
	}
	return got[0], "", nil
}
