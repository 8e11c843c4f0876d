package api

import (
	"context"
	"fmt"
	"iter"
)

// Filter is one condition of a list: an attribute, an operator, an operand.
type Filter [3]any

// Discovery returns what the server says of itself, asked once.
func (c *Client) Discovery(ctx context.Context) (*Discovery, error) {
	c.mu.Lock()
	d := c.discovery
	c.mu.Unlock()
	if d != nil {
		return d, nil
	}
	d = new(Discovery)
	if err := c.Get(ctx, "/discovery/v1/apis/arvados/v1/rest", nil, d); err != nil {
		return nil, fmt.Errorf("discovery document: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.discovery = d
	return d, nil
}

// Config returns the public configuration, asked once.
func (c *Client) Config(ctx context.Context) (*PublicConfig, error) {
	c.mu.Lock()
	p := c.config
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p = new(PublicConfig)
	if err := c.Get(ctx, "config", nil, p); err != nil {
		return nil, fmt.Errorf("public configuration: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = p
	return p, nil
}

// CurrentUser returns whose token it is.
func (c *Client) CurrentUser(ctx context.Context) (u User, err error) {
	err = c.Get(ctx, "users/current", nil, &u)
	return u, err
}

// pageSize is how many items of a list are asked for at once.
const pageSize = 1000

// Pages yields the items of a list, asked page by page in the order of their
// UUIDs, so that what changes meanwhile neither hides an item nor shows one twice.
// uuid returns the UUID of an item. The iteration ends with the first error.
func Pages[T any](ctx context.Context, c *Client, path string, p Params, filters []Filter, uuid func(*T) string) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		after := ""
		for {
			var page struct {
				Items []T `json:"items"`
			}
			q := Params{"order": "uuid", "limit": pageSize, "count": "none"}
			for k, v := range p {
				q[k] = v
			}
			fs := filters
			if after != "" {
				fs = append(fs[:len(fs):len(fs)], Filter{"uuid", ">", after})
			}
			if len(fs) > 0 {
				q["filters"] = fs
			}
			if err := c.Get(ctx, path, q, &page); err != nil {
				yield(nil, err)
				return
			}
			last := after
			for i := range page.Items {
				id := uuid(&page.Items[i])
				if id <= after { // a server that does not keep the order, or an item of no kind we know
					continue
				}
				last = max(last, id)
				if !yield(&page.Items[i], nil) {
					return
				}
			}
			if last == after {
				return
			}
			after = last
		}
	}
}
