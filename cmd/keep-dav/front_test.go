package main

import (
	"slices"
	"strings"
	"testing"
)

func TestATokenComesWithHowTheServerIsReached(t *testing.T) {
	r := newRig(t)
	made := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName})
	if !strings.HasPrefix(made.URL, "http://127.0.0.1:") && made.URL != "" {
		t.Errorf("a server that runs at %s says %q", r.url, made.URL)
	}
	for at, want := range map[string][]string{
		"http://127.0.0.1:8080/":        {"ARVADOS_API_HOST=http://127.0.0.1:8080", "ARVADOS_API_TOKEN=" + made.Token},
		"https://keep.example.com:8443": {"ARVADOS_API_HOST=keep.example.com:8443", "ARVADOS_API_TOKEN=" + made.Token, "ARVADOS_API_HOST_INSECURE=1"},
		"":                              nil,
		"ftp://x":                       nil,
		"keep.example.com":              nil,
	} {
		if got, err := environment(made, at); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("for %q: %q, %v; want %q", at, got, err, want)
		}
	}
}

func TestAFrontEndAndAStoreAreNotServedAtOnce(t *testing.T) {
	env := func(name string) (string, bool) { return "api.example", name == "ARVADOS_API_HOST" }
	none := func(string) (string, bool) { return "", false }
	for _, c := range []struct {
		name string
		cmd  serveCmd
		root cli
		env  func(string) (string, bool)
		want string // the cluster; "": the store
		fail string
	}{
		{name: "environment", env: env, want: "api.example"},
		{name: "nothing", env: none},
		{name: "a store that is named", root: cli{Store: "/srv"}, env: env},
		{name: "both", root: cli{Store: "/srv"}, cmd: serveCmd{clusterFlags: clusterFlags{Cluster: true}}, env: env, fail: "only one of them"},
		{name: "a mount", cmd: serveCmd{mountFlags: mountFlags{Mount: "/mnt"}}, env: env, fail: "keep-mount mounts a cluster"},
	} {
		s, err := c.cmd.choose(&c.root, c.env)
		got := ""
		if s != nil {
			got = s.Name()
		}
		if (err == nil) != (c.fail == "") || got != c.want || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
