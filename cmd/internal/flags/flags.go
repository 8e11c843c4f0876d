// Package flags has what the command lines of our programs have in common.
package flags

import (
	"fmt"
	"reflect"

	"github.com/alecthomas/kong"
)

// Exact are options for kong that take words and names of files (type:"path")
// to the byte; kong's own mappers pass them through JSON.
func Exact() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		for _, o := range []kong.Option{
			kong.KindMapper(reflect.String, kong.MapperFunc(takeWord)),
			kong.NamedMapper("path", kong.MapperFunc(takePath)),
		} {
			if err := o.Apply(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func takeWord(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("string")
	if err == nil {
		target.SetString(t.String())
	}
	return err
}

func takePath(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("file")
	if err == nil && (t.String() != "" || !ctx.Value.HasDefault) {
		target.SetString(kong.ExpandPath(t.String()))
	}
	return err
}

// Bytes is a size like 256MiB or 4G.
type Bytes int64

// UnmarshalText reads a number and a unit of 1024.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, unit := int64(0), ""
	if k, err := fmt.Sscanf(string(text), "%d%s", &n, &unit); k == 0 || k == 1 && err != nil && unit != "" {
		return fmt.Errorf("%q is not a size: write for example 256MiB", text)
	}
	shift, ok := map[string]uint{"": 0, "B": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30, "T": 40, "TiB": 40}[unit]
	if !ok || n < 0 || n > 1<<(62-shift) {
		return fmt.Errorf("%q is not a size: write for example 256MiB", text)
	}
	*b = Bytes(n << shift)
	return nil
}
