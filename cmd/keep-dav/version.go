package main

import (
	"io"

	"keepdav/cmd/internal/version"
)

type versionCmd struct{}

func (c *versionCmd) Run(root *cli) error {
	v := version.Get()
	return show(root, v, func(w io.Writer) { v.Text(w, "keep-dav") })
}
