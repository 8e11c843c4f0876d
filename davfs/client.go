package davfs

import "context"

// A Client says which habits of the program at the other end the file system
// has to know. The zero value is a program without habits.
type Client struct {
	// Apple clients see the litter that they wrote (._name, .DS_Store) in
	// listings; others do not.
	Apple bool
	// FoldCase: a name that does not exist as given is looked up again without
	// regard to case, and found if exactly one matches. Windows needs it.
	FoldCase bool
	// Exact: two names that differ in any byte are two names, as on a local disk.
	// Without it, the other Unicode form of a name that does not exist is found.
	Exact bool
}

type clientKey struct{}

// WithClient tells the methods of FileSystem who is asking.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

func clientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}
