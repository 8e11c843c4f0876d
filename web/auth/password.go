package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What a new password hash costs: OWASP's second choice for argon2id. More
// memory would show in the resident size of a server that promises to stay small.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32
)

// What a stored hash may cost to verify, so that a doctored store cannot
// exhaust the memory of the server.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonTime   = 16
)

// maxHashers bounds how many passwords are hashed at once, and with it the memory.
const maxHashers = 2

var hashers = make(chan struct{}, maxHashers)

// MaxPassword is the longest password in bytes.
const MaxPassword = 1024

// errBadHash says that a stored hash is not one of ours.
var errBadHash = errors.New("password hash is malformed")

// HashPassword returns password in the form that is stored: argon2id in PHC
// notation, with a random salt.
func HashPassword(ctx context.Context, password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > MaxPassword:
		return "", fmt.Errorf("the password is longer than %d bytes", MaxPassword)
	case isToken(password):
		return "", errors.New("the password has the form of a token, and would be taken for one")
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	key, err := derive(ctx, password, salt, argonTime, argonMemory, argonThreads, hashBytes)
	if err != nil {
		return "", err
	}
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// VerifyPassword reports whether hash was made from password. It takes the
// same time for right and wrong passwords.
func VerifyPassword(ctx context.Context, hash, password string) (bool, error) {
	if len(password) > MaxPassword {
		return false, nil
	}
	var version, memory, time, threads int
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return false, errBadHash
	}
	if n, err := fmt.Sscanf(parts[2], "v=%d", &version); n != 1 || err != nil || version != argon2.Version {
		return false, errBadHash
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); n != 3 || err != nil ||
		memory < 8 || memory > maxArgonMemory || time < 1 || time > maxArgonTime || threads < 1 || threads > 16 {
		return false, errBadHash
	}
	enc := base64.RawStdEncoding
	salt, err := enc.DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return false, errBadHash
	}
	want, err := enc.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 {
		return false, errBadHash
	}
	got, err := derive(ctx, password, salt, uint32(time), uint32(memory), uint8(threads), uint32(len(want)))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// derive waits for its turn, then runs argon2id.
func derive(ctx context.Context, password string, salt []byte, time, memory uint32, threads uint8, n uint32) ([]byte, error) {
	select {
	case hashers <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-hashers }()
	return argon2.IDKey([]byte(password), salt, time, memory, threads, n), nil
}

// RandomPassword returns a password that is easy to read and type: 20 characters
// without look-alikes in four groups, 99 bits.
func RandomPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32 of them: no bias
	raw := make([]byte, 20)
	rand.Read(raw)
	var b strings.Builder
	for i, c := range raw {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[c&31])
	}
	return b.String()
}
