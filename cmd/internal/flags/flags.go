// Package flags has what the command lines of our programs have in common.
package flags

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

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

// Seconds is a time as a number of seconds like 2.5, or with a unit like 500ms.
type Seconds time.Duration

// UnmarshalText reads a number of seconds, or a duration.
func (s *Seconds) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if n, nerr := strconv.ParseFloat(string(text), 64); nerr == nil {
		d, err = time.Duration(n*float64(time.Second)), nil
		if n > maxSeconds || n != n {
			err = errors.New("too long")
		}
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time: write for example 2.5, in seconds", text)
	}
	*s = Seconds(d)
	return nil
}

const maxSeconds = 1e9
