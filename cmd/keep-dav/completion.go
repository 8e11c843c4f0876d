package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completionCmd) Help() string {
	return `Examples:
  keep-dav completion bash > ~/.local/share/bash-completion/completions/keep-dav
  keep-dav completion zsh > "${fpath[1]}/_keep-dav"
  keep-dav completion fish > ~/.config/fish/completions/keep-dav.fish`
}

// completions are scripts that ask the program itself what may come next.
var completions = map[string]string{
	"bash": `_keep_dav() {
    local IFS=$'\n'
    COMPREPLY=($(keep-dav __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" -- "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null))
}
complete -o default -F _keep_dav keep-dav
`,
	"zsh": `#compdef keep-dav
local -a found
found=("${(@f)$(keep-dav __complete "${(@)words[2,CURRENT-1]}" -- "${words[CURRENT]}" 2>/dev/null)}")
if [[ -n $found ]]; then compadd -a found; else _files; fi
`,
	"fish": `complete -c keep-dav -a '(keep-dav __complete (commandline -opc)[2..] -- (commandline -ct) 2>/dev/null)'
`,
}

func (c *completionCmd) Run() error {
	fmt.Print(completions[c.Shell])
	return nil
}

type completeCmd struct {
	Words []string `arg:"" optional:""`
}

// Run prints what may come after the words before "--" and begins with the one after it.
func (c *completeCmd) Run(parser *kong.Kong) error {
	words, prefix := c.Words, ""
	if i := slices.Index(words, "--"); i >= 0 {
		if i+1 < len(words) {
			prefix = words[i+1]
		}
		words = words[:i]
	}
	for _, s := range candidates(parser.Model.Node, words, prefix) {
		fmt.Println(s)
	}
	return nil
}

// candidates walks from node along words, and lists what begins with prefix:
// commands, flags, or the values of a flag or an argument that has a few.
func candidates(node *kong.Node, words []string, prefix string) []string {
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
