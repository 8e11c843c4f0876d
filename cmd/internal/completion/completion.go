// Package completion completes command lines in shells. The scripts for the shells ask
// the program itself what may come next.
package completion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Cmd prints the script for a shell: a command for kong.
type Cmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help shows where the scripts belong.
func (c *Cmd) Help() string {
	return `Examples, for PROGRAM:
  PROGRAM completion bash > ~/.local/share/bash-completion/completions/PROGRAM
  PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
  PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`
}

// scripts have PROGRAM for the name of the program, and FUNCTION for one made of it.
var scripts = map[string]string{
	"bash": `FUNCTION() {
    local IFS=$'\n'
    COMPREPLY=($(PROGRAM __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" -- "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null))
}
complete -o default -F FUNCTION PROGRAM
`,
	"zsh": `#compdef PROGRAM
local -a found
found=("${(@f)$(PROGRAM __complete "${(@)words[2,CURRENT-1]}" -- "${words[CURRENT]}" 2>/dev/null)}")
if [[ -n $found ]]; then compadd -a found; else _files; fi
`,
	"fish": `complete -c PROGRAM -a '(PROGRAM __complete (commandline -opc)[2..] -- (commandline -ct) 2>/dev/null)'
`,
}

// Run prints the script.
func (c *Cmd) Run(parser *kong.Kong) error {
	name := parser.Model.Name
	fmt.Print(strings.NewReplacer("PROGRAM", name, "FUNCTION", "_"+strings.ReplaceAll(name, "-", "_")).Replace(scripts[c.Shell]))
	return nil
}

// CompleteCmd is what the scripts call, as __complete: a hidden command for kong with
// passthrough.
type CompleteCmd struct {
	Words []string `arg:"" optional:""`
}

// Run prints what may come after the words before "--" and begins with the one after it.
func (c *CompleteCmd) Run(parser *kong.Kong) error {
	words, prefix := c.Words, ""
	if i := slices.Index(words, "--"); i >= 0 {
		if i+1 < len(words) {
			prefix = words[i+1]
		}
		words = words[:i]
	}
	for _, s := range Candidates(parser.Model.Node, words, prefix) {
		fmt.Println(s)
	}
	return nil
}

// Candidates walks from node along words, and lists what begins with prefix:
// commands, flags, or the values of a flag or an argument that has a few.
func Candidates(node *kong.Node, words []string, prefix string) []string {
	path := []*kong.Node{node}
	flags := func() (all []*kong.Flag) {
		for _, n := range path {
			all = append(all, n.Flags...)
		}
		if len(path) == 1 && node.DefaultCmd != nil {
			all = append(all, node.DefaultCmd.Flags...)
		}
		return all
	}
	var value *kong.Value // what the next word is for, when that is known
	args := 0
	for _, w := range words {
		switch i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == w }); {
		case value != nil:
			value = nil
		case strings.HasPrefix(w, "-"):
			i := slices.IndexFunc(flags(), func(f *kong.Flag) bool { return w == "--"+f.Name || w == "-"+string(f.Short) })
			if i >= 0 && !flags()[i].IsBool() {
				value = flags()[i].Value
			}
		case i >= 0:
			node, args = node.Children[i], 0
			path = append(path, node)
		default:
			args++
		}
	}
	flag := strings.HasPrefix(prefix, "-")
	if value == nil && !flag && args < len(node.Positional) {
		value = node.Positional[args]
	}
	var all []string
	switch {
	case value != nil:
		all = value.EnumSlice()
	case flag:
		for _, f := range flags() {
			if !f.Hidden {
				all = append(all, "--"+f.Name)
			}
		}
	default:
		for _, n := range node.Children {
			if !n.Hidden {
				all = append(all, n.Name)
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" || !strings.HasPrefix(s, prefix) })
	slices.Sort(all)
	return slices.Compact(all)
}
