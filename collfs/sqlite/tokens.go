package sqlite

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"keepdav/collfs"
)

// secretChars is how long the secret of a token is.
const secretChars = 50

// A Token describes a token; its secret is known to its holder alone.
type Token = collfs.Token

// errNoToken says that a token is not good, and not why.
var errNoToken = fmt.Errorf("token: %w", fs.ErrNotExist)

// CreateToken makes a token that stands for a user and returns it in its v2
// form. No scopes are all, a zero expiry is never.
func (s *Store) CreateToken(ctx context.Context, user collfs.UUID, scopes []string, label string, expires time.Time) (string, Token, error) {
	if len(scopes) == 0 {
		scopes = []string{"all"}
	}
	t := Token{UUID: s.newUUID("gj3su"), User: user, Scopes: scopes, Label: label, CreatedAt: s.now(), ExpiresAt: expires}
	secret := randomString(secretChars)
	hash := sha256.Sum256([]byte(secret))
	list, err := json.Marshal(scopes)
	if err != nil {
		return "", Token{}, err
	}
	err = s.write(ctx, func(w *writer) error {
		n, err := w.exec(`INSERT INTO token (uuid, user, hash, scopes, label, created, expires) SELECT ?, uuid, ?, ?, ?, ?, ? FROM user WHERE uuid = ?`,
			t.UUID, hash[:], string(list), label, nanos(t.CreatedAt), nanos(expires), user)
		if err == nil && n == 0 {
			err = fmt.Errorf("user %s: %w", user, fs.ErrNotExist)
		}
		return err
	})
	if err != nil {
		return "", Token{}, err
	}
	return "v2/" + string(t.UUID) + "/" + secret, t, nil
}

const tokenColumns = `token.uuid, token.user, token.scopes, token.label, token.created, token.expires`

func scanToken(row scanner, rest ...any) (Token, error) {
	var t Token
	var scopes string
	var created, expires int64
	if err := row.Scan(append([]any{&t.UUID, &t.User, &scopes, &t.Label, &created, &expires}, rest...)...); err != nil {
		return t, err
	}
	t.CreatedAt, t.ExpiresAt = timeOf(created), timeOf(expires)
	return t, json.Unmarshal([]byte(scopes), &t.Scopes)
}

// Authenticate returns the token that a v2 form names and the active user whom
// it stands for. A token that is not good is fs.ErrNotExist.
func (s *Store) Authenticate(ctx context.Context, token string) (collfs.User, Token, error) {
	u, t, err := s.TokenUser(ctx, token)
	if err == nil && !u.Active {
		return collfs.User{}, Token{}, errNoToken
	}
	return u, t, err
}

// TokenUser is Authenticate for users who are not active, too.
func (s *Store) TokenUser(ctx context.Context, token string) (collfs.User, Token, error) {
	parts := strings.Split(token, "/")
	if len(parts) < 3 || parts[0] != "v2" {
		return collfs.User{}, Token{}, errNoToken
	}
	var hash []byte
	t, err := scanToken(s.readers.row(ctx, `SELECT `+tokenColumns+`, hash FROM token WHERE uuid = ?`, parts[1]), &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return collfs.User{}, Token{}, errNoToken
	}
	if err != nil {
		return collfs.User{}, Token{}, storageError(err)
	}
	given := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(hash, given[:]) != 1 || !t.ExpiresAt.IsZero() && !s.now().Before(t.ExpiresAt) {
		return collfs.User{}, Token{}, errNoToken
	}
	u, err := s.User(ctx, t.User)
	if errors.Is(err, fs.ErrNotExist) {
		return collfs.User{}, Token{}, errNoToken
	}
	return u, t, err
}

// LookupToken returns the active user whom a token with all scopes stands for,
// and when it ends (zero: never). A token that is not good, or that is good for
// some requests only, is fs.ErrNotExist.
func (s *Store) LookupToken(ctx context.Context, token string) (collfs.User, time.Time, error) {
	u, t, err := s.Authenticate(ctx, token)
	if err != nil {
		return collfs.User{}, time.Time{}, err
	}
	for _, scope := range t.Scopes {
		if scope == "all" {
			return u, t.ExpiresAt, nil
		}
	}
	return collfs.User{}, time.Time{}, errNoToken
}

// ListTokens returns the tokens of a user, or of all when user is "", oldest first.
func (s *Store) ListTokens(ctx context.Context, user collfs.UUID) ([]Token, error) {
	var all []Token
	err := s.readers.query(ctx, func(row scanner) error {
		t, err := scanToken(row)
		all = append(all, t)
		return err
	}, `SELECT `+tokenColumns+` FROM token WHERE ?1 IN ('', user) ORDER BY created, uuid`, user)
	return all, storageError(err)
}

// Token returns a token by its UUID; a missing one is fs.ErrNotExist.
func (s *Store) Token(ctx context.Context, id collfs.UUID) (Token, error) {
	t, err := scanToken(s.readers.row(ctx, `SELECT `+tokenColumns+` FROM token WHERE uuid = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return t, fmt.Errorf("token %s: %w", id, fs.ErrNotExist)
	}
	return t, storageError(err)
}

// UpdateToken changes what a token is good for, and until when.
func (s *Store) UpdateToken(ctx context.Context, id collfs.UUID, scopes []string, expires time.Time) error {
	list, err := json.Marshal(scopes)
	if err != nil {
		return err
	}
	return s.write(ctx, func(w *writer) error {
		n, err := w.exec(`UPDATE token SET scopes = ?, expires = ? WHERE uuid = ?`, string(list), nanos(expires), id)
		if err == nil && n == 0 {
			err = fmt.Errorf("token %s: %w", id, fs.ErrNotExist)
		}
		return err
	})
}

// RevokeToken deletes a token.
func (s *Store) RevokeToken(ctx context.Context, id collfs.UUID) error {
	return s.write(ctx, func(w *writer) error {
		n, err := w.exec(`DELETE FROM token WHERE uuid = ?`, id)
		if err == nil && n == 0 {
			err = fmt.Errorf("token %s: %w", id, fs.ErrNotExist)
		}
		return err
	})
}
