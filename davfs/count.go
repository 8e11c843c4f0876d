package davfs

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"sync"
	"time"
)

// Count implements FileSystem.
func (f *FS) Count(ctx context.Context, name string, limit int) (int, error) {
	p, err := f.resolveOld(ctx, name)
	n := 0
	if err == nil {
		n, err = f.count(ctx, p, limit)
	}
	return n, pathError("count", name, err)
}

func (f *FS) count(ctx context.Context, p place, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	if p.kind == atCollection {
		s, err := f.visit(ctx, p)
		if err != nil {
			return 0, err
		}
		defer s.close()
		if s.ok {
			return s.c.Count(s.path, limit)
		}
	}
	i, err := f.stat(ctx, p)
	if err != nil || !i.Dir {
		return 1, err
	}
	l, err := f.list(ctx, p)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	n := 1
	batch := make([]Info, 64)
	for n < limit {
		got, err := l.Next(batch)
		if err != nil {
			return n, err
		}
		if got == 0 {
			break
		}
		for _, i := range batch[:got] {
			if n >= limit {
				break
			}
			if !i.Dir {
				n++
				continue
			}
			below, err := f.resolve(ctx, path.Join(p.name, i.Name))
			if err != nil {
				return n, err
			}
			m, err := f.count(ctx, below, limit-n)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return n, err
			}
			n += m
		}
	}
	return n, nil
}

// Usage implements FileSystem: what a collection uses is the sum of its files.
func (f *FS) Usage(ctx context.Context, name string) (Usage, error) {
	p, err := f.resolveOld(ctx, name)
	if err != nil {
		return Usage{}, pathError("usage", name, err)
	}
	u, err := f.site.space.get(ctx, f.site.conf.Space)
	if err != nil {
		return Usage{}, pathError("usage", name, err)
	}
	if p.kind == atCollection && !p.loose {
		s, err := f.visit(ctx, p)
		if err != nil {
			return Usage{}, pathError("usage", name, err)
		}
		defer s.close()
		u.Used = s.rec.Bytes
	}
	return u, nil
}

// spaceCache remembers how full the store is for a second: some clients ask at
// each step.
type spaceCache struct {
	mu    sync.Mutex // guards the fields below
	usage Usage
	until time.Time
}

func (c *spaceCache) get(ctx context.Context, ask func(context.Context) (Usage, error)) (Usage, error) {
	if ask == nil {
		return Usage{Available: -1}, nil
	}
	now := time.Now()
	c.mu.Lock()
	u, ok := c.usage, now.Before(c.until)
	c.mu.Unlock()
	if ok {
		return u, nil
	}
	u, err := ask(ctx)
	if err != nil {
		return Usage{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usage, c.until = u, now.Add(time.Second)
	return u, nil
}
