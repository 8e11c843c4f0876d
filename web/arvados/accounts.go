package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// Accounts is where users and tokens are kept. What isn't there is fs.ErrNotExist. All
// methods may be called concurrently.
type Accounts interface {
	User(ctx context.Context, id collfs.UUID) (collfs.User, error)
	UserByName(ctx context.Context, name string) (collfs.User, error)
	ListUsers(ctx context.Context) ([]collfs.User, error)
	// Acquaintances returns the active users with whom a user shares something.
	Acquaintances(ctx context.Context, user collfs.UUID) ([]collfs.User, error)
	// CreateUser makes an active user; without the hash of a password one who needs tokens.
	CreateUser(ctx context.Context, name, fullName, password string, admin bool) (collfs.User, error)
	SetFullName(ctx context.Context, id collfs.UUID, name string) error
	SetActive(ctx context.Context, id collfs.UUID, active bool) error
	SetAdmin(ctx context.Context, id collfs.UUID, admin bool) error
	DeleteUser(ctx context.Context, id collfs.UUID) error

	CreateToken(ctx context.Context, user collfs.UUID, scopes []string, label string, expires time.Time) (string, collfs.Token, error)
	Token(ctx context.Context, id collfs.UUID) (collfs.Token, error)
	ListTokens(ctx context.Context, user collfs.UUID) ([]collfs.Token, error)
	UpdateToken(ctx context.Context, id collfs.UUID, scopes []string, expires time.Time) error
	RevokeToken(ctx context.Context, id collfs.UUID) error
}

type accounts struct {
	Accounts
	api     *API
	changed func()
}

// AddAccounts adds users and their tokens. changed is called after changes of either:
// what others remember of them may be wrong.
func (a *API) AddAccounts(store Accounts, changed func()) {
	k := &accounts{store, a, changed}
	a.Add(
		Endpoint{Method: "GET", Path: "users/current", Inactive: true, Do: k.currentUser},
		Endpoint{Method: "GET", Path: "users/{uuid}", Do: k.getUser},
		Endpoint{Method: "GET", Path: "users", Do: k.listUsers},
		Endpoint{Method: "POST", Path: "users", Record: "user", Do: k.createUser},
		Endpoint{Method: "PATCH", Path: "users/{uuid}", Record: "user", Do: k.updateUser},
		Endpoint{Method: "DELETE", Path: "users/{uuid}", Do: k.deleteUser},

		Endpoint{Method: "GET", Path: "api_client_authorizations/current", Inactive: true, Do: k.currentToken},
		Endpoint{Method: "GET", Path: "api_client_authorizations/{uuid}", Do: k.getToken},
		Endpoint{Method: "GET", Path: "api_client_authorizations", Do: k.listTokens},
		Endpoint{Method: "POST", Path: "api_client_authorizations", Record: "api_client_authorization", Do: k.createToken},
		Endpoint{Method: "PATCH", Path: "api_client_authorizations/{uuid}", Record: "api_client_authorization", Do: k.updateToken},
		Endpoint{Method: "DELETE", Path: "api_client_authorizations/{uuid}", Do: k.deleteToken},
	)
}

// userItem is a user as the API shows one.
func (a *API) userItem(u, reader collfs.User) Item {
	first, last := u.FullName, ""
	if i := strings.LastIndexByte(u.FullName, ' '); i >= 0 {
		first, last = u.FullName[:i], u.FullName[i+1:]
	}
	email := ""
	if strings.Contains(u.Name, "@") {
		email = u.Name
	}
	may := reader.Admin || reader.UUID == u.UUID
	writers := []string{string(a.systemUser())}
	if may {
		writers = append(writers, string(u.UUID))
	}
	return Item{
		"kind": "arvados#user", "uuid": string(u.UUID), "owner_uuid": string(a.systemUser()), "modified_by_user_uuid": string(a.systemUser()),
		"created_at": Time(u.CreatedAt), "modified_at": Time(u.CreatedAt), "username": u.Name, "email": email, "full_name": u.FullName, "first_name": first, "last_name": last,
		"identity_url": "", "is_active": u.Active, "is_admin": u.Admin, "is_invited": u.Active, "prefs": object{},
		"can_write": may, "can_manage": may, "writable_by": writers,
	}.WithETag()
}

func userAttrs() query.Attrs {
	attrs := attrsOf("User")
	attrs["full_name"], attrs["is_invited"] = query.Text, query.Bool
	return attrs
}

func (k *accounts) currentUser(_ context.Context, req *Request) (any, error) {
	return req.selected(k.api.userItem(req.User, req.User))
}

// known returns the users whom the maker of a request may see: an administrator all,
// others themselves and those with whom they share something.
func (k *accounts) known(ctx context.Context, req *Request) ([]collfs.User, error) {
	if req.User.Admin {
		return k.ListUsers(ctx)
	}
	users, err := k.Acquaintances(ctx, req.User.UUID)
	return append(users, req.User), err
}

func (k *accounts) knows(ctx context.Context, req *Request, id collfs.UUID) (bool, error) {
	if req.User.Admin || id == req.User.UUID {
		return true, nil
	}
	users, err := k.Acquaintances(ctx, req.User.UUID)
	return slices.ContainsFunc(users, func(u collfs.User) bool { return u.UUID == id }), err
}

func (k *accounts) getUser(ctx context.Context, req *Request) (any, error) {
	ok, err := k.knows(ctx, req, req.UUID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}
	u, err := k.User(ctx, req.UUID)
	if err != nil {
		return nil, err
	}
	return req.selected(k.api.userItem(u, req.User))
}

func (k *accounts) listUsers(ctx context.Context, req *Request) (any, error) {
	users, err := k.known(ctx, req)
	if err != nil {
		return nil, err
	}
	q, err := req.Query(userAttrs())
	if err != nil {
		return nil, err
	}
	// Whom one wants to share with, one has to name exactly.
	for _, f := range q.Filters {
		name, ok := f.Operand.(string)
		if f.Attr != "username" || f.Op != query.Equal || !ok {
			continue
		}
		u, err := k.UserByName(ctx, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && u.Active {
			users = append(users, u)
		}
	}
	var items []Item
	seen := make(map[collfs.UUID]bool)
	for _, u := range users {
		if !seen[u.UUID] {
			seen[u.UUID] = true
			items = append(items, k.api.userItem(u, req.User))
		}
	}
	return req.ListOf("arvados#userList", userAttrs(), items)
}

// userFields are the attributes of a user that a request brings.
type userFields struct {
	Username  *string `json:"username"`
	Email     *string `json:"email"`
	FirstName *string `json:"first_name"`
	LastName  *string `json:"last_name"`
	FullName  *string `json:"full_name"`
	Admin     *bool   `json:"is_admin"`
	Active    *bool   `json:"is_active"`
}

// fullName is what a user called old is called then.
func (f *userFields) fullName(old string) string {
	first, last := old, ""
	if i := strings.LastIndexByte(old, ' '); i >= 0 {
		first, last = old[:i], old[i+1:]
	}
	if f.FullName != nil {
		return *f.FullName
	}
	if f.FirstName != nil {
		first = *f.FirstName
	}
	if f.LastName != nil {
		last = *f.LastName
	}
	return strings.TrimSpace(first + " " + last)
}

// decode reads the record that a request brings into dst, a struct; attributes that
// this doesn't have are passed over, as are those that only the server sets.
func (req *Request) decode(dst any) error {
	attrs, _, err := req.Attrs()
	if err != nil {
		return err
	}
	text, err := json.Marshal(attrs)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, dst); err != nil {
		return unprocessable("an attribute has a value of the wrong kind")
	}
	return nil
}

func (k *accounts) createUser(ctx context.Context, req *Request) (any, error) {
	if !req.User.Admin || !req.wholeToken() {
		return nil, forbidden()
	}
	var f userFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	name := ""
	switch {
	case f.Username != nil:
		name = *f.Username
	case f.Email != nil:
		name, _, _ = strings.Cut(*f.Email, "@")
	}
	u, err := k.CreateUser(ctx, name, f.fullName(""), "", f.Admin != nil && *f.Admin)
	if errors.Is(err, fs.ErrExist) {
		err = unprocessable("the user name is taken")
	}
	if err != nil {
		return nil, err
	}
	if f.Active != nil && !*f.Active {
		if err := k.SetActive(ctx, u.UUID, false); err != nil {
			return nil, err
		}
		u.Active = false
	}
	k.changed()
	return req.selected(k.api.userItem(u, req.User))
}

func (k *accounts) updateUser(ctx context.Context, req *Request) (any, error) {
	ok, err := k.knows(ctx, req, req.UUID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}
	var f userFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	u, err := k.User(ctx, req.UUID)
	if err != nil {
		return nil, err
	}
	ranks := f.Admin != nil && *f.Admin != u.Admin || f.Active != nil && *f.Active != u.Active
	switch {
	case !req.User.Admin && (req.UUID != req.User.UUID || ranks), !req.wholeToken():
		return nil, forbidden()
	case f.Username != nil && *f.Username != u.Name:
		return nil, unprocessable("a user's name is part of the paths of everybody who shares with them and stays as it is")
	}
	defer k.changed()
	if name := f.fullName(u.FullName); name != u.FullName {
		if err := k.SetFullName(ctx, u.UUID, name); err != nil {
			return nil, err
		}
	}
	if f.Admin != nil && *f.Admin != u.Admin {
		if err := k.SetAdmin(ctx, u.UUID, *f.Admin); err != nil {
			return nil, err
		}
	}
	if f.Active != nil && *f.Active != u.Active {
		if err := k.SetActive(ctx, u.UUID, *f.Active); err != nil {
			return nil, err
		}
	}
	if u, err = k.User(ctx, u.UUID); err != nil {
		return nil, err
	}
	return req.selected(k.api.userItem(u, req.User))
}

func (k *accounts) deleteUser(ctx context.Context, req *Request) (any, error) {
	ok, err := k.knows(ctx, req, req.UUID)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, notFound()
	case !req.User.Admin || !req.wholeToken():
		return nil, forbidden()
	}
	u, err := k.User(ctx, req.UUID)
	if err != nil {
		return nil, err
	}
	if err := k.DeleteUser(ctx, u.UUID); err != nil {
		return nil, err
	}
	k.changed()
	return req.selected(k.api.userItem(u, req.User))
}

// tokenItem is a token as the API shows one, without its secret.
func tokenItem(t collfs.Token) Item {
	return Item{
		"kind": "arvados#apiClientAuthorization", "uuid": string(t.UUID), "owner_uuid": string(t.User), "scopes": t.Scopes,
		"created_at": Time(t.CreatedAt), "expires_at": Time(t.ExpiresAt), "modified_at": Time{}, "modified_by_user_uuid": "",
		"created_by_ip_address": "", "last_used_at": Time{}, "last_used_by_ip_address": "",
	}.WithETag()
}

func tokenAttrs() query.Attrs {
	attrs := attrsOf("ApiClientAuthorization")
	delete(attrs, "api_token")
	attrs["owner_uuid"] = query.Text
	return attrs
}

// secretOf is the part of a v2 token that is its api_token.
func secretOf(token string) string {
	if parts := strings.Split(token, "/"); len(parts) >= 3 && parts[0] == "v2" {
		return parts[2]
	}
	return token
}

func (k *accounts) currentToken(_ context.Context, req *Request) (any, error) {
	t := collfs.Token{UUID: req.Caller.Token, User: req.User.UUID, Scopes: req.Scopes, CreatedAt: req.CreatedAt, ExpiresAt: req.ExpiresAt}
	i := tokenItem(t)
	i["api_token"] = secretOf(req.Token)
	return req.selected(i)
}

// token returns a token that the maker of a request may see and change.
func (k *accounts) token(ctx context.Context, req *Request) (collfs.Token, error) {
	if !req.wholeToken() {
		return collfs.Token{}, forbidden()
	}
	t, err := k.Token(ctx, req.UUID)
	if err == nil && t.User != req.User.UUID && !req.User.Admin {
		err = notFound()
	}
	return t, err
}

func (k *accounts) getToken(ctx context.Context, req *Request) (any, error) {
	t, err := k.token(ctx, req)
	if err != nil {
		return nil, err
	}
	return req.selected(tokenItem(t))
}

func (k *accounts) listTokens(ctx context.Context, req *Request) (any, error) {
	if !req.wholeToken() {
		return nil, forbidden()
	}
	whose := req.User.UUID
	if req.User.Admin {
		whose = ""
	}
	tokens, err := k.ListTokens(ctx, whose)
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(tokens))
	for i, t := range tokens {
		items[i] = tokenItem(t)
	}
	return req.ListOf("arvados#apiClientAuthorizationList", tokenAttrs(), items)
}

// tokenFields are the attributes of a token that a request brings.
type tokenFields struct {
	Owner   *collfs.UUID    `json:"owner_uuid"`
	Scopes  *[]string       `json:"scopes"`
	Expires json.RawMessage `json:"expires_at"`
}

// expires returns when the token is to end; old if the request doesn't say.
func (f *tokenFields) expires(old time.Time) (time.Time, error) {
	switch string(f.Expires) {
	case "":
		return old, nil
	case "null", `""`:
		return time.Time{}, nil
	}
	var at time.Time
	if err := json.Unmarshal(f.Expires, &at); err != nil {
		return at, unprocessable("expires_at must be a time as RFC 3339 has it")
	}
	return at, nil
}

// checkScopes says what is wrong with the scopes of a token.
func checkScopes(scopes []string) error {
	if len(scopes) > 1000 {
		return unprocessable("too many scopes")
	}
	for _, s := range scopes {
		method, path, ok := strings.Cut(s, " ")
		if s != "all" && (!ok || !strings.HasPrefix(path, "/") || method == "" || strings.ToUpper(method) != method) {
			return unprocessable(`scope %q is neither "all" nor a method and a path`, s)
		}
	}
	return nil
}

func (k *accounts) createToken(ctx context.Context, req *Request) (any, error) {
	var f tokenFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	owner := req.User.UUID
	if f.Owner != nil {
		owner = *f.Owner
	}
	if !req.wholeToken() || owner != req.User.UUID && !req.User.Admin {
		return nil, forbidden()
	}
	scopes := []string{"all"}
	if f.Scopes != nil && *f.Scopes != nil {
		scopes = *f.Scopes
	}
	if len(scopes) == 0 {
		return nil, unprocessable("a token without scopes is good for nothing")
	}
	if err := checkScopes(scopes); err != nil {
		return nil, err
	}
	ends, err := f.expires(time.Time{})
	if err != nil {
		return nil, err
	}
	text, t, err := k.CreateToken(ctx, owner, scopes, "", ends)
	if errors.Is(err, fs.ErrNotExist) {
		err = unprocessable("there is no such user")
	}
	if err != nil {
		return nil, err
	}
	i := tokenItem(t)
	i["api_token"] = secretOf(text)
	req.Writer().Header().Set("Cache-Control", "no-store")
	return req.selected(i)
}

func (k *accounts) updateToken(ctx context.Context, req *Request) (any, error) {
	t, err := k.token(ctx, req)
	if err != nil {
		return nil, err
	}
	var f tokenFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	if f.Scopes != nil {
		t.Scopes = *f.Scopes
	}
	if len(t.Scopes) == 0 {
		return nil, unprocessable("a token without scopes is good for nothing")
	}
	if err := checkScopes(t.Scopes); err != nil {
		return nil, err
	}
	if f.Owner != nil && *f.Owner != t.User {
		return nil, &Error{Status: http.StatusUnprocessableEntity, Text: "a token stays its user's"}
	}
	if t.ExpiresAt, err = f.expires(t.ExpiresAt); err != nil {
		return nil, err
	}
	if err := k.UpdateToken(ctx, t.UUID, t.Scopes, t.ExpiresAt); err != nil {
		return nil, err
	}
	k.changed()
	return req.selected(tokenItem(t))
}

func (k *accounts) deleteToken(ctx context.Context, req *Request) (any, error) {
	t, err := k.token(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := k.RevokeToken(ctx, t.UUID); err != nil {
		return nil, err
	}
	k.changed()
	return req.selected(tokenItem(t))
}
