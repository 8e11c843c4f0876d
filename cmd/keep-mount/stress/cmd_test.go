package stress

import (
	"reflect"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func TestFlagsChangeThePresets(t *testing.T) {
	for _, c := range []struct {
		args []string
		want Options
	}{
		{[]string{"d"}, Options{Dir: "d", Stall: time.Minute}},
		{[]string{"d", "--small", "--collections"}, Options{Dir: "d", Processes: 4, Rounds: 2, Ops: 60, Big: 3 << 20, Stall: time.Minute, Collections: true}},
		{[]string{"d", "--big", "-n3", "-r5", "--walkers=-1"}, Options{Dir: "d", Processes: 3, Rounds: 5, Walkers: -1, Ops: 200, Tops: 5, Big: 24 << 20, Stall: time.Minute}},
		{[]string{"--variants=files,big", "--stall=2s", "-d5m", "--seed=9", "d"}, Options{Dir: "d", Variants: []string{"files", "big"}, Stall: 2 * time.Second, Duration: 5 * time.Minute, Seed: 9}},
	} {
		var cmd Cmd
		k, err := kong.New(&cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse(c.args); err != nil {
			t.Fatalf("Parse(%q) = %v", c.args, err)
		}
		if got := cmd.Options(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("Options of %q = %+v; want %+v", c.args, got, c.want)
		}
	}
	k, err := kong.New(new(Cmd))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{"d", "--small", "--big"}); err == nil {
		t.Error("--small and --big together are taken; want one of them only")
	}
}
