package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"keepdav/cmd/internal/version"
	"keepdav/collfs"
	"keepdav/web"
)

// keepWebFlags are for who comes from a keep-web.
type keepWebFlags struct {
	DownloadHost    string `env:"KEEPDAV_DOWNLOAD_HOST" placeholder:"HOST" group:"keep-web" help:"On this host[:port] browsers save whatever they fetch, and cookies are accepted."`
	TrustAllContent bool   `env:"KEEPDAV_TRUST_ALL_CONTENT" group:"keep-web" help:"Accept cookies on all hosts and let browsers run what is stored. Whoever can store a page can then act for whoever looks at it."`
	AnonymousToken  string `env:"KEEPDAV_ANONYMOUS_TOKEN" placeholder:"TOKEN" group:"keep-web" help:"Show by their URLs the collections that this token opens to those who have none."`
	ManagementToken string `env:"KEEPDAV_MANAGEMENT_TOKEN" placeholder:"TOKEN" group:"keep-web" help:"Serve /metrics, /metrics.json and /_health to whoever presents this as a Bearer token."`
	Workbench       string `env:"KEEPDAV_WORKBENCH" placeholder:"URL" group:"keep-web" help:"Send browsers without a token here to log in."`
}

// Validate refuses what would never match.
func (f keepWebFlags) Validate() error {
	switch u, err := url.Parse(f.Workbench); {
	case strings.ContainsAny(f.DownloadHost, "/@? "):
		return errors.New("--download-host is a host, perhaps with a port, such as download.example.com")
	case strings.Contains(f.AnonymousToken, " ") || strings.Contains(f.ManagementToken, " "):
		return errors.New("tokens have no spaces")
	case f.Workbench != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == ""):
		return errors.New("--workbench is a URL, such as https://workbench.example.com")
	}
	if host, port, err := net.SplitHostPort(f.DownloadHost); err == nil && (host == "" || port == "") {
		return errors.New("--download-host has to name a host")
	}
	return nil
}

// keepWeb is how the server stands in for a keep-web. s is nil in front of a cluster,
// which looks at the scopes of tokens itself.
func (f keepWebFlags) keepWeb(s *store) web.KeepWeb {
	k := web.KeepWeb{
		DownloadHost: f.DownloadHost, TrustAllContent: f.TrustAllContent,
		AnonymousToken: f.AnonymousToken, ManagementToken: f.ManagementToken, Workbench: f.Workbench,
		Version: version.Get().Version,
	}
	if s != nil {
		k.Scopes = func(ctx context.Context, token string) (collfs.User, []string, error) {
			u, t, err := s.SQL.Authenticate(ctx, token)
			return u, t.Scopes, err
		}
		k.Describe = s.describe
	}
	return k
}

// record is what a zip file says about the collection that it is of.
type record struct {
	UUID       collfs.UUID     `json:"uuid,omitempty"`
	Owner      collfs.UUID     `json:"owner_uuid,omitempty"`
	Name       string          `json:"name,omitempty"`
	About      string          `json:"description,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
	PDH        collfs.PDH      `json:"portable_data_hash"`
	Created    *time.Time      `json:"created_at,omitempty"`
	Modified   *time.Time      `json:"modified_at,omitempty"`
}

// describe returns the name and the record of a collection that somebody may see.
func (s *store) describe(ctx context.Context, id string) (name string, _ any, err error) {
	if len(id) > 32 && id[32] == '+' {
		return id, record{PDH: collfs.PDH(id)}, nil
	}
	r, err := s.SQL.Record(ctx, collfs.UUID(id))
	if err != nil {
		return "", nil, err
	}
	pdh, err := s.SQL.PDH(ctx, r.UUID, 0)
	if err != nil {
		return "", nil, err
	}
	return r.Name, record{
		UUID: r.UUID, Owner: r.Owner, Name: r.Name, About: r.Description, Properties: r.Properties, PDH: pdh,
		Created: &r.CreatedAt, Modified: &r.ModifiedAt,
	}, nil
}
