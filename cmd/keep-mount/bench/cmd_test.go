package bench

import (
	"reflect"
	"testing"

	"github.com/alecthomas/kong"
)

func TestFlagsChangeTheQuickSizes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want Options
	}{
		{[]string{"d"}, Options{Dir: "d"}},
		{[]string{"d", "--quick", "-r7", "--stream=64", "--pid=3"}, Options{Dir: "d", Reps: 7, Single: 32 * mib, Several: 8 * mib, Stream: 64 * mib, Files: 200, PID: 3}},
		{[]string{"d", "--only=dd,small", "--files=9", "--single=1", "--several=2"}, Options{Dir: "d", Groups: []string{"dd", "small"}, Files: 9, Single: mib, Several: 2 * mib}},
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
}
