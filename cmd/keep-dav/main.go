// Command keep-dav serves collections as a network drive over WebDAV, and looks
// after the store that they are kept in.
//
// Everything is wired here and nowhere else: store.go opens the parts of a
// store and puts them together, serve.go runs the server over them,
// operations.go lists what the administration commands do, and backend.go decides
// whether they do it in this process or, over the control socket, in the server
// that has the store open.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/completion"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/flags"
	"keepdav/cmd/internal/settings"
	"keepdav/cmd/internal/version"
)

// Exit codes besides 0 and 1.
const (
	exitUsage   = 2 // the command line is wrong
	exitDamage  = 3 // fsck found something wrong that it did not repair
	exitCut     = 4 // the server was told to leave before it had finished
	description = "Collections as a network drive over WebDAV.\n\n" +
		"With no command it serves: on http://127.0.0.1:8080/ from a store in your data directory, which the first start makes.\n" +
		"With --cluster, or ARVADOS_API_HOST set and no --store, it serves a cluster of Arvados instead: see serve --help.\n" +
		"Every flag of serve can be set by an environment variable too, as its help says. " +
		"Administration commands work on the store directly, or through the server while one runs."
)

type cli struct {
	Store string `placeholder:"DIR" default:"" env:"KEEPDAV_STORE" type:"path" help:"Directory of the store. Default: ${store}; with ARVADOS_API_HOST set, a store has to be named."`
	JSON  bool   `name:"json" help:"Print results as JSON."`

	Serve    serveCmd         `cmd:"" default:"withargs" help:"Serve the store (what happens without a command)."`
	User     userCmd          `cmd:"" help:"Add, list and change users."`
	Token    tokenCmd         `cmd:"" help:"Make, list and revoke tokens."`
	Project  projectCmd       `cmd:"" help:"Make projects: folders of collections."`
	Share    shareCmd         `cmd:"" help:"Let other users read or change a project or a collection."`
	Ls       lsCmd            `cmd:"" help:"List a directory of the site."`
	Import   importCmd        `cmd:"" help:"Copy a directory of this machine into a collection."`
	Export   exportCmd        `cmd:"" help:"Copy a collection, or a directory of one, to this machine."`
	ImportCl importClusterCmd `cmd:"" name:"import-cluster" help:"Copy collections of a cluster, or of a keep-dav elsewhere, into the store."`
	ExportCl exportClusterCmd `cmd:"" name:"export-cluster" help:"Copy collections of the store to a cluster, or to a keep-dav elsewhere."`
	Stat     statCmd          `cmd:"" help:"Show figures of the store, or of one collection."`
	Versions versionsCmd      `cmd:"" help:"List old versions of a collection, and bring one back."`
	Trash    trashCmd         `cmd:"" help:"List what was deleted, bring it back, or delete it for good."`
	Locks    locksCmd         `cmd:"" help:"List and break locks of WebDAV clients."`
	Fsck     fsckCmd          `cmd:"" help:"Verify every block and every reference of the store."`
	GC       gcCmd            `cmd:"" name:"gc" help:"Remove expired versions and blocks that nothing refers to."`

	Version    versionCmd             `cmd:"" help:"Print the version of this program."`
	Completion completion.Cmd         `cmd:"" help:"Print a completion script for your shell."`
	Complete   completion.CompleteCmd `cmd:"" name:"__complete" hidden:"" passthrough:""`
	Health     healthCmd              `cmd:"" hidden:"" help:"Ask a running server whether it is ready (for containers)."`
}

// dir is the directory of the store.
func (c *cli) dir() string {
	if c.Store == "" {
		return embedded.DefaultDir()
	}
	return c.Store
}

// local refuses to take a store for the cluster that the environment names.
func (c *cli) local() error {
	if c.Store != "" || !settings.InEnvironment(os.LookupEnv) {
		return nil
	}
	return fmt.Errorf("ARVADOS_API_HOST names a cluster, and this command is about a store of this machine: name it with --store (such as --store %s), or unset ARVADOS_API_HOST", embedded.DefaultDir())
}

func main() {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "keep-dav:", err)
		os.Exit(1)
	}
	os.Exit(run(parser, &c, os.Args[1:]))
}

func newParser(c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("keep-dav"),
		kong.Description(description),
		kong.Vars{"store": embedded.DefaultDir(), "state": cluster.DefaultState(os.LookupEnv), "cache": cluster.DefaultCache(os.LookupEnv, os.Geteuid()), "version": version.Get().Version},
		kong.UsageOnError(),
		flags.Exact(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
	)
}

func run(parser *kong.Kong, c *cli, args []string) int {
	k, err := parser.Parse(args)
	if err != nil {
		if pe, ok := errors.AsType[*kong.ParseError](err); ok && pe.Context != nil {
			fmt.Fprintf(os.Stderr, "keep-dav: %v\nTry: keep-dav --help\n", err)
			return exitUsage
		}
		fmt.Fprintln(os.Stderr, "keep-dav:", err)
		return exitUsage
	}
	ctx, stop := context.Background(), func() {}
	if !k.Selected().Hidden && k.Command() != "serve" { // the server does its own
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop) // a second signal ends a command that takes long to wind up
	}
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(c, parser)
	switch err := k.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, errCut):
		fmt.Fprintln(os.Stderr, "keep-dav:", err)
		return exitCut
	case errors.Is(err, errDamage):
		fmt.Fprintln(os.Stderr, "keep-dav:", err)
		return exitDamage
	default:
		fmt.Fprintln(os.Stderr, "keep-dav:", err)
		return 1
	}
}
