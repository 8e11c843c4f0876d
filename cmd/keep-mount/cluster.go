package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/mounting"
	"keepdav/cmd/internal/settings"
	"keepdav/cmd/internal/version"
)

// choose finds out whether a cluster is meant, and which. A store that was named
// wins, then the environment, then a store in the usual place, then a settings file.
func (c *mountCmd) choose(env settings.Env) error {
	if c.Store != "" {
		return c.storeOnly()
	}
	if !c.Cluster && !settings.InEnvironment(env) {
		there, err := embedded.Exists(embedded.DefaultDir())
		if there || err != nil {
			return errors.Join(err, c.storeOnly())
		}
	}
	s, err := settings.Load(env)
	switch {
	case errors.Is(err, settings.ErrNoHost) && !c.Cluster:
		return c.storeOnly()
	case err != nil:
		return err
	}
	c.cluster = &s
	return s.NeedToken()
}

// storeOnly refuses what a store on this machine does not have.
func (c *mountCmd) storeOnly() error {
	if c.StorageClasses != "" && c.StorageClasses != "default" {
		return fmt.Errorf("--storage-classes %s: a store on this machine has one class, default", c.StorageClasses)
	}
	return nil
}

// classes are the storage classes that were asked for.
func (c *mountCmd) classes() (all []string) {
	for name := range strings.SplitSeq(c.StorageClasses, ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// A clusterSource is a cluster that this process has a session on.
type clusterSource struct {
	machine *cluster.Machine
	session *cluster.Session
	memory  string // directory of blocks that are kept in memory; "": none
}

// startPatience is how long a cluster may take to say who we are.
const startPatience = 40 * time.Second

// ramCache is how much memory blocks may take if nobody says otherwise.
const ramCache = 256 << 20

// openCluster begins a session on the cluster of c.
func openCluster(ctx context.Context, c *mountCmd, serve mounting.Serve, log zerolog.Logger) (_ *source, err error) {
	conf := cluster.Config{
		Settings: *c.cluster, StateDir: c.StateDir, CacheDir: c.DiskCacheDir, CacheBytes: int64(c.FileCache),
		StorageClasses: c.classes(), Retries: c.Retries, Patience: time.Duration(c.Patience), Poll: time.Duration(c.RefreshTime), NoEvent: c.DisableEventListening,
		AcceptLostUpdates: c.AcceptLostUpdates, Agent: "keep-mount/" + version.Get().Version,
		Session: cluster.SessionConfig{TreeBytes: int64(c.DirectoryCache)}, Log: log,
	}
	if c.Retries == 0 {
		conf.Retries = -1
	}
	s := &clusterSource{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	if c.RAMCache {
		if s.memory, err = memoryDir(); err != nil {
			return nil, err
		}
		conf.CacheDir = s.memory
		if conf.CacheBytes == 0 {
			conf.CacheBytes = ramCache
		}
	}
	if s.machine, err = cluster.New(conf); err != nil {
		return nil, err
	}
	starting, stop := context.WithTimeout(ctx, startPatience)
	defer stop()
	if s.session, err = s.machine.Session(starting, c.cluster.Token); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	return &source{
		user: s.session.User.Name, log: log, cluster: s,
		host: mounting.NewHost(s.session, serve, true, log),
	}, nil
}

// memoryDir makes a directory that is in memory, if there is such a place.
func memoryDir() (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "keep-mount-")
	if err != nil {
		dir, err = os.MkdirTemp("", "keep-mount-")
	}
	if err != nil {
		return "", fmt.Errorf("--ram-cache: %w", err)
	}
	return dir, nil
}

// close commits everything and ends the session.
func (s *clusterSource) close(ctx context.Context) error {
	var err error
	if s.session != nil {
		err = s.session.Close(ctx)
	}
	if s.machine != nil {
		s.machine.Close()
	}
	if s.memory != "" {
		err = errors.Join(err, os.RemoveAll(s.memory))
	}
	return err
}
