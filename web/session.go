package web

import (
	"errors"
	"net/http"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/browse"
	"keepdav/web/dav"
)

// A session is what a request needs to know about whoever makes it. It travels
// in the request's context.
type session struct {
	user   collfs.User
	fs     davfs.FileSystem
	prefix string // of the URL, that names in fs do not have: "" or "/c=ID"
	w      *response
}

type sessionKey struct{}

var errNoSession = errors.New("the request has no session")

func sessionOf(r *http.Request) (*session, error) {
	s, ok := r.Context().Value(sessionKey{}).(*session)
	if !ok {
		return nil, errNoSession
	}
	return s, nil
}

// davHandler is the protocol's handler for names below prefix.
func davHandler(conf dav.Config, prefix string) *dav.Handler {
	conf.Prefix = prefix
	conf.Session = func(r *http.Request) (dav.Session, error) {
		s, err := sessionOf(r)
		if err != nil {
			return dav.Session{}, err
		}
		return dav.Session{FS: s.fs, User: string(s.user.UUID)}, nil
	}
	conf.Failed = func(r *http.Request, _ int, err error) {
		if s, none := sessionOf(r); none == nil {
			s.w.err = err
		}
	}
	conf.Lister = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := sessionOf(r)
		if err == nil {
			err = s.list(w, r)
		}
		s.answer(w, err)
	})
	return dav.New(conf)
}

// view is the directory that r is about.
func (s *session) view(r *http.Request) (browse.View, error) {
	p, err := dav.RequestPath(r, s.prefix)
	if err != nil {
		return browse.View{}, err
	}
	return browse.View{FS: s.fs, Prefix: s.prefix, Name: p.Name, User: s.user.Name}, nil
}

func (s *session) list(w http.ResponseWriter, r *http.Request) error {
	v, err := s.view(r)
	if err != nil {
		return err
	}
	return browse.Page(w, r, v)
}

// act answers POST: what the forms of the pages send.
func (s *session) act(w http.ResponseWriter, r *http.Request, handler http.Handler) error {
	v, err := s.view(r)
	if err == nil {
		err = browse.Act(w, r, v, handler)
	}
	s.answer(w, err)
	return err
}

// answer turns the failure of a page into a status, when none was sent yet.
func (s *session) answer(w http.ResponseWriter, err error) {
	if err == nil || s == nil {
		return
	}
	s.w.err = err
	if s.w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	s.w.saved = ""
	http.Error(w, "this cannot be shown", dav.Status(err))
}
