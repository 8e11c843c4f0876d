package keepclient

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"keepdav/keepio"
)

// Push is the method of keepio.Remote: it sends f to as many servers as it takes,
// in probe order and several at once. What counts is what they reply. Push stores
// a block also if the cluster has it, which renews its signature and its age.
//
// If all servers are full the error matches keepio.ErrFull; if they refuse the
// token, fs.ErrPermission; if f does not hold the block, keepio.ErrCorrupt.
func (c *Client) Push(ctx context.Context, f *os.File, hash [16]byte, size uint32) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("push block %x+%d: %w", hash, size, err)
	}
	if info.Size() < int64(size) {
		return fmt.Errorf("push block %x+%d: file has %d bytes: %w", hash, size, info.Size(), keepio.ErrCorrupt)
	}
	return c.push(ctx, fileSource{f, size}, hash, size)
}

// PushBytes is Push of bytes in memory. It keeps no reference to data.
func (c *Client) PushBytes(ctx context.Context, data []byte) (hash [16]byte, err error) {
	hash = md5.Sum(data)
	if len(data) > keepio.BlockSize {
		return hash, fmt.Errorf("push %d bytes: %w", len(data), keepio.ErrTooLarge)
	}
	src := &bytesSource{data: data}
	defer src.used.Wait()
	return hash, c.push(ctx, src, hash, uint32(len(data)))
}

func (c *Client) push(ctx context.Context, src source, hash [16]byte, size uint32) error {
	switch {
	case size > keepio.BlockSize:
		return fmt.Errorf("push block %x: %w", hash, keepio.ErrTooLarge)
	case size == 0 && hash == md5.Sum(nil):
		return ctx.Err() // everybody knows the empty block
	case size == 0:
		return fmt.Errorf("push block %x+0: %w", hash, keepio.ErrCorrupt)
	}
	set, err := c.settings(ctx)
	if err != nil {
		return fmt.Errorf("push block %x+%d: %w", hash, size, apiKind(ctx, err))
	}
	p := &push{op: c.newOp(hash, size), src: src, size: size, want: newTally(set), done: make(map[string]bool)}
	if err := p.run(ctx); err != nil {
		return err
	}
	c.pushedNow(p.stored)
	c.counts.pushes.Add(1)
	return nil
}

// settings returns what the cluster wants by default. As long as they are not known
// they are asked for again, as blocks are sent again.
func (c *Client) settings(ctx context.Context) (settings, error) {
	for round := 0; ; round++ {
		set, err := c.servers.clusterSettings(ctx)
		if err == nil || ctx.Err() != nil || round+1 >= c.rounds || sleep(ctx, pause(round, 0)) != nil {
			return set, err
		}
	}
}

// apiKind makes an error of the API match what it means for a block.
func apiKind(ctx context.Context, err error) error {
	if ctx.Err() != nil || permanent(err) {
		return err
	}
	return fmt.Errorf("%w: %w", keepio.ErrUnavailable, err)
}

// A push is one call of Push.
type push struct {
	*op
	src    source
	size   uint32
	want   *tally
	done   map[string]bool // servers that need not be asked again
	stored keepio.Locator  // of the last success
	looked bool            // our own bytes have been checked
}

func (p *push) run(ctx context.Context) error {
	for round := 0; ; round++ {
		servers, err := p.servers.services(ctx, p.cfg.Token)
		if err != nil {
			return p.wrap(err)
		}
		again := p.round(ctx, servers)
		switch {
		case p.want.satisfied():
			return nil
		case ctx.Err() != nil:
			return p.fail(ctx, nil)
		case p.corruptHere():
			return p.fail(ctx, keepio.ErrCorrupt)
		case !again && p.servers.freshen(ctx, p.cfg.Token):
			continue // there may be a server that we did not know
		case !again || round+1 >= p.rounds || !p.rest(ctx, round):
			return p.fail(ctx, p.kind())
		}
	}
}

// reply is what came of a PUT.
type reply struct {
	srv  *server
	fail *failure
	got  stored
}

// round sends the block to servers, as many at once as can be needed, until
// enough is stored or all have been asked. It has joined what it started when it
// returns, and reports whether some server should be asked again.
func (p *push) round(ctx context.Context, servers []*server) (again bool) {
	var todo []*server
	each := 1 // replicas that a server may make of one PUT
	for _, s := range probeOrder(p.loc.HashHex(), servers) {
		if s.readOnly {
			continue
		}
		if !s.disk {
			each = keepReplicas
		}
		if !p.done[s.base] {
			todo = append(todo, s)
		}
	}
	replies := make(chan reply)
	active := 0
	for {
		for ; len(todo) > 0 && active*each < p.want.missing() && ctx.Err() == nil; todo = todo[1:] {
			srv, classes, n := todo[0], p.want.classesLeft(), p.want.missing()
			active++
			go func() {
				got, fail := p.put(ctx, srv, n, classes)
				replies <- reply{srv, fail, got}
			}()
		}
		if active == 0 {
			return again
		}
		r := <-replies
		active--
		if r.fail == nil {
			p.done[r.srv.base] = true
			p.stored = r.got.loc
			p.want.count(r.got)
			continue
		}
		p.failed.add(r.fail)
		if r.fail.verdict == later {
			again = true
		} else {
			p.done[r.srv.base] = true
		}
	}
}

// keepReplicas stands for as many replicas as anybody may want.
const keepReplicas = 1 << 10

// put sends the block to one server.
func (p *push) put(ctx context.Context, srv *server, replicas int, classes []string) (stored, *failure) {
	if err := srv.writes.acquire(ctx); err != nil {
		return stored{}, &failure{server: srv.base, err: err}
	}
	got, fail := p.putLimited(ctx, srv, replicas, classes)
	srv.writes.release(fail == nil, fail != nil && overloaded(fail))
	if ctx.Err() == nil {
		srv.saw(fail)
		srv.refused.Store(fail != nil)
	}
	if fail == nil {
		srv.stats.bytesOut.Add(int64(p.size))
		p.counts.bytesOut.Add(int64(p.size))
	}
	return got, fail
}

func (p *push) putLimited(ctx context.Context, srv *server, replicas int, classes []string) (stored, *failure) {
	req, err := p.request(srv, replicas, classes)
	if err != nil {
		return stored{}, &failure{server: srv.base, verdict: never, err: err}
	}
	rt, limits := p.servers.transport(srv)
	x, err := roundTrip(ctx, rt, req, limits.put)
	if err != nil {
		return stored{}, &failure{server: srv.base, err: err}
	}
	defer x.close()
	p.servers.sawDate(x.resp.Header)
	if x.resp.StatusCode != http.StatusOK {
		fail := statusFailure(srv, x, p.servers, p.message(x))
		if fail.verdict == refused && x.resp.StatusCode == http.StatusBadRequest || fail.verdict == corrupt {
			fail.verdict = later // the bytes may have been spoilt on the way
		}
		return stored{}, fail
	}
	body, err := io.ReadAll(io.LimitReader(x.resp.Body, maxReply))
	if err == nil {
		err = x.sent() // a server may say 200 before it has got everything
	}
	if err != nil {
		return stored{}, &failure{server: srv.base, err: x.explain(err)}
	}
	got, err := parseStored(p.loc, body, x.resp.Header)
	if err != nil {
		return stored{}, &failure{server: srv.base, err: err}
	}
	return got, nil
}

// maxReply bounds a reply's body, which is a locator.
const maxReply = 4 << 10

func (p *push) request(srv *server, replicas int, classes []string) (*http.Request, error) {
	// keepproxy takes a hash with a size for another hash.
	req, err := http.NewRequest(http.MethodPut, srv.base+"/"+p.loc.HashHex(), nil)
	if err != nil {
		return nil, err
	}
	if req.Body, err = p.src.open(); err != nil {
		return nil, err
	}
	req.GetBody = p.src.open // for a connection that the server closed meanwhile
	req.ContentLength = int64(p.size)
	p.setHeaders(req, p.cfg.Token)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("X-Keep-Desired-Replicas", strconv.Itoa(replicas))
	if len(classes) > 0 {
		req.Header.Set("X-Keep-Storage-Classes", strings.Join(classes, ", "))
	}
	if srv.refused.Load() {
		// To ask first costs a round trip; not to ask, the whole block if the
		// server does not want it. So it is asked when it refused the last one.
		req.Header.Set("Expect", "100-continue")
	}
	return req, nil
}

// kind is what the failures at all servers come to.
func (p *push) kind() error {
	kind := keepio.ErrUnavailable
	switch {
	case p.failed.any(later):
	case p.failed.any(refused):
		kind = errRefused
	case p.failed.any(tooLarge):
		kind = keepio.ErrTooLarge
	case p.failed.any(full):
		kind = keepio.ErrFull
	}
	return fmt.Errorf("%w: %s", kind, p.want)
}

// corruptHere reports whether it is our bytes that are wrong. It looks once,
// after a server may have said so, for it has to read them all.
func (p *push) corruptHere() bool {
	if p.looked || !p.failed.anyStatus(http.StatusBadRequest, http.StatusBadGateway) {
		return false
	}
	p.looked = true
	body, err := p.src.open()
	if err != nil {
		return false
	}
	h := md5.New()
	_, err = io.Copy(h, body)
	_ = body.Close() // only read
	hash := p.loc.Hash()
	return err == nil && !bytes.Equal(h.Sum(nil), hash[:])
}
