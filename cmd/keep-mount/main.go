// Command keep-mount mounts collections as a directory, with FUSE.
//
// main.go reads the command line, flags.go says what can be on it, and layout.go
// what it makes visible. mount.go runs a mount from start to end, with the store
// opened in this process or by a server (source.go), in the background (daemon.go)
// or around a command (exec.go). unmount.go, status.go and fstab.go are what is
// done to a mount from outside.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/completion"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/flags"
	"keepdav/cmd/internal/mounting"
	"keepdav/cmd/internal/version"
	"keepdav/cmd/keep-mount/bench"
	"keepdav/cmd/keep-mount/stress"
)

// Exit codes besides 0, 1 and those of a command after --exec.
const (
	exitUsage     = 2   // the command line is wrong
	exitCut       = 4   // told to leave before everything was written down
	exitNoExecute = 126 // the command after --exec cannot be run
	exitNoCommand = 127 // there is no such command
	description   = "Collections as a directory, mounted with FUSE.\n\n" +
		"keep-mount DIR shows the projects and collections of a cluster, or of a store on this machine, at DIR, read-only until --read-write is given. " +
		"It returns when the mount works and goes on in the background, until DIR is unmounted. " +
		"While keep-dav or another keep-mount has the store open, the mount is served by that one. A cluster is used when ARVADOS_API_HOST is set."
)

type cli struct {
	Mount  mountCmd  `cmd:"" default:"withargs" help:"Mount (what happens without a command)."`
	Status statusCmd `cmd:"" help:"Show what mounts do."`
	Fstab  fstabCmd  `cmd:"" passthrough:"" help:"Mount as a line of /etc/fstab says; mount(8) calls it as mount.keep."`

	Stress stress.Cmd `cmd:"" help:"Find out what a directory loses or mixes up while many processes work in it."`
	Bench  bench.Cmd  `cmd:"" help:"Measure how fast a directory is."`

	Version    versionCmd             `cmd:"" help:"Print the version of this program."`
	Completion completion.Cmd         `cmd:"" help:"Print a completion script for your shell."`
	Complete   completion.CompleteCmd `cmd:"" name:"__complete" hidden:"" passthrough:""`
}

func main() {
	if stress.Main() {
		return
	}
	if len(os.Args) > 1 && os.Args[1] == trampoline {
		os.Exit(runTrampoline(os.Args[2:]))
	}
	args := os.Args[1:]
	if name := os.Args[0]; name[strings.LastIndexByte(name, '/')+1:] == "mount.keep" {
		args = append([]string{"fstab"}, args...)
	}
	p := &program{serve: mounting.ServeFUSE, signals: make(chan os.Signal, 8), args: args}
	signal.Notify(p.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	os.Exit(p.run())
}

// A program is one run of keep-mount.
type program struct {
	serve   mounting.Serve
	signals chan os.Signal // INT, TERM and QUIT, and HUP of a terminal
	args    []string
}

// An exitError ends the program with a code of its own. err may be nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func newParser(c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("keep-mount"),
		kong.Description(description),
		kong.Vars{
			"store": embedded.DefaultDir(), "state": cluster.DefaultState(os.LookupEnv), "cache": cluster.DefaultCache(os.LookupEnv, os.Geteuid()),
			"read_ahead": strconv.Itoa(mounting.DefaultReadAhead),
		},
		flags.Exact(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
	)
}

// parse reads a command line. What follows --exec is not for us.
func parse(args []string) (*cli, *kong.Context, *kong.Kong, error) {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		return nil, nil, nil, err
	}
	args, command, err := splitExec(args)
	if err != nil {
		return nil, nil, parser, err
	}
	c.Mount.command = command
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") { // the flags are what most want to see
		args = []string{"mount", "--help"}
	}
	k, err := parser.Parse(args)
	return &c, k, parser, err
}

// splitExec cuts the command after --exec off.
func splitExec(args []string) (ours, command []string, err error) {
	i := slices.IndexFunc(args, func(a string) bool { return a == "--exec" || strings.HasPrefix(a, "--exec=") })
	switch {
	case i < 0 || slices.Contains(args[:i], "--") || args[0] == "fstab" || args[0] == "__complete":
		return args, nil, nil
	case args[i] != "--exec":
		return nil, nil, errors.New("write --exec last, with the command as words of their own: --exec CMD ARG…")
	case i+1 == len(args):
		return nil, nil, errors.New("--exec wants a command: --exec CMD ARG…")
	}
	return args[:i], args[i+1:], nil
}

func (p *program) run() int {
	c, k, parser, err := parse(p.args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "keep-mount: %v\n", err)
		if parser != nil {
			fmt.Fprintln(os.Stderr, "Try: keep-mount --help")
		}
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) // a mount has signals of its own
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(p, c, parser)
	return p.report(k.Run())
}

// report says how the run ended, and returns the exit code.
func (p *program) report(err error) int {
	exit, ok := errors.AsType[*exitError](err)
	switch {
	case err == nil:
		return 0
	case ok && exit.err == nil:
		return exit.code
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "keep-mount:", strings.TrimSuffix(line, "\n"))
	}
	if ok {
		return exit.code
	}
	return 1
}

type versionCmd struct{}

func (c *versionCmd) Run() error {
	version.Get().Text(os.Stdout, "keep-mount")
	return nil
}
