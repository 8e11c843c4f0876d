// Package auth finds out who makes a request.
//
// A request carries a user name and a password, or a token, in its
// Authorization header; nothing else counts. A password is verified with
// argon2id, which costs some 20 ms and 19 MiB on purpose, so what was verified
// is remembered for a while under a keyed hash of the header: all further
// requests with it cost about a microsecond. What is remembered is looked up
// again in the accounts when it gets old, and forgotten at once by Forget,
// which whoever changes a password, a token or a user calls.
//
// Failed logins are counted by client address and by user name. Over the limit
// the answer is "too many" without looking at the password; what is remembered
// as good still passes, so guessing at a user's name does not lock out a user
// who is logged in.
//
// # Locks
//
// Authenticator.mu and limiter.mu are never held together, nor during argon2 or
// a look-up in the accounts.
//
// Start reading at auth.go.
package auth
