package arvados

import (
	"container/list"
	"crypto/sha256"
	"net"
	"sync"

	"keepdav/collfs"
)

// given remembers which revision of a collection a client was given last: it bases
// its next manifest on that. Clients with one token are told apart by where they are
// and what they call themselves.
type given struct {
	mu    sync.Mutex // guards the fields below
	order list.List  // of givenEntry, what was used last in front
	at    map[givenKey]*list.Element
	sent  int64 // counts down: numbers of texts that are no revisions
}

type givenKey struct {
	client [32]byte // a hash: tokens are not kept
	id     collfs.UUID
}

type givenEntry struct {
	key      givenKey
	revision int64
}

// maxGiven is how many revisions are remembered.
const maxGiven = 20_000

func clientKeys(req *Request, id collfs.UUID) (own, any givenKey) {
	host, _, err := net.SplitHostPort(req.HTTP.RemoteAddr)
	if err != nil {
		host = req.HTTP.RemoteAddr
	}
	token := "\x00" + req.Token
	return givenKey{sha256.Sum256([]byte(host + "\x00" + req.HTTP.UserAgent() + token)), id}, givenKey{sha256.Sum256([]byte(token)), id}
}

// gave notes that a client was given a revision.
func (g *given) gave(req *Request, id collfs.UUID, revision int64) {
	own, any := clientKeys(req, id)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setLocked(own, revision)
	g.setLocked(any, revision)
}

// gaveSent notes that a client has a text that it has sent itself and that is no
// revision, and returns the negative number that stands for it.
func (g *given) gaveSent(req *Request, id collfs.UUID) int64 {
	own, any := clientKeys(req, id)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent--
	g.setLocked(own, g.sent)
	g.setLocked(any, g.sent)
	return g.sent
}

func (g *given) setLocked(key givenKey, revision int64) {
	if g.at == nil {
		g.at = make(map[givenKey]*list.Element)
	}
	if e := g.at[key]; e != nil {
		e.Value = givenEntry{key, revision}
		g.order.MoveToFront(e)
		return
	}
	g.at[key] = g.order.PushFront(givenEntry{key, revision})
	if g.order.Len() > maxGiven {
		last := g.order.Back()
		g.order.Remove(last)
		delete(g.at, last.Value.(givenEntry).key)
	}
}

// last returns the revision that a client was given last.
func (g *given) last(req *Request, id collfs.UUID) (revision int64, ok bool) {
	own, any := clientKeys(req, id)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []givenKey{own, any} {
		if e := g.at[key]; e != nil {
			return e.Value.(givenEntry).revision, true
		}
	}
	return 0, false
}

// texts keeps manifests of late, without signatures.
type texts struct {
	mu    sync.Mutex // guards the fields below
	size  int
	order list.List // of textEntry
	at    map[textKey]*list.Element
}

type textKey struct {
	id       collfs.UUID
	revision int64
}

type textEntry struct {
	key  textKey
	text []byte
}

// maxTexts bounds their bytes.
const maxTexts = 64 << 20

func (t *texts) get(key textKey) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.at[key]
	if e == nil {
		return nil, false
	}
	t.order.MoveToFront(e)
	return e.Value.(textEntry).text, true
}

// textOverhead is what an entry takes beyond its text, about.
const textOverhead = 200

// put keeps a text. One that was printed for a tree does not take the place of one
// that a client has sent for it.
func (t *texts) put(key textKey, text []byte, sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(map[textKey]*list.Element)
	}
	if e := t.at[key]; e != nil {
		if !sent {
			return
		}
		t.dropLocked(e)
	}
	if len(text) > maxTexts/4 {
		return
	}
	t.at[key] = t.order.PushFront(textEntry{key, text})
	for t.size += len(text) + textOverhead; t.size > maxTexts; {
		t.dropLocked(t.order.Back())
	}
}

func (t *texts) dropLocked(e *list.Element) {
	v := e.Value.(textEntry)
	t.order.Remove(e)
	delete(t.at, v.key)
	t.size -= len(v.text) + textOverhead
}
