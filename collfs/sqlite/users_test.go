package sqlite

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"keepdav/collfs"
)

func TestUsersKnowThoseWithWhomTheyShare(t *testing.T) {
	s := openStore(t, Config{})
	ann, bob, cid := newUser(t, s, "ann", false), newUser(t, s, "bob", false), newUser(t, s, "cid", false)
	p := s.NewProjectUUID()
	if _, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateProject, UUID: p, Owner: ann, Name: "p"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Grant(t.Context(), bob, newCollection(t, s, p, "c"), collfs.CanRead); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[collfs.UUID][]collfs.UUID{ann: {bob}, bob: {ann}, cid: nil} {
		known, err := s.Acquaintances(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		var got []collfs.UUID
		for _, u := range known {
			got = append(got, u.UUID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Acquaintances(%s) = %v; want %v", user, got, want)
		}
	}
}

func TestTokensAreFoundAndChanged(t *testing.T) {
	s := openStore(t, Config{})
	ann := newUser(t, s, "ann", false)
	_, tok, err := s.CreateToken(t.Context(), ann, nil, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(time.Hour).Round(0)
	if err := s.UpdateToken(t.Context(), tok.UUID, []string{"GET /x"}, ends); err != nil {
		t.Fatal(err)
	}
	got, err := s.Token(t.Context(), tok.UUID)
	if err != nil || got.User != ann || !slices.Equal(got.Scopes, []string{"GET /x"}) || !got.ExpiresAt.Equal(ends) {
		t.Errorf("Token() = %+v, %v", got, err)
	}
	if _, err := s.Token(t.Context(), "zzzzz-gj3su-000000000000000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Token(none) = %v", err)
	}
	if err := s.UpdateToken(t.Context(), "zzzzz-gj3su-000000000000000", nil, ends); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("UpdateToken(none) = %v", err)
	}
}
