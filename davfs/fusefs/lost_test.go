package fusefs

import (
	"errors"
	"testing"
)

func TestWhatIsLostIsThereWhenItIsWrittenOrCutOff(t *testing.T) {
	full := errors.New("full")
	for _, c := range []struct {
		name string
		do   func(*lost)
		lost bool
	}{
		{"nothing", func(*lost) {}, true},
		{"written elsewhere", func(l *lost) { l.written(0, 10); l.written(30, 40) }, true},
		{"written", func(l *lost) { l.written(10, 30) }, false},
		{"written in pieces", func(l *lost) { l.written(20, 30); l.written(0, 20) }, false},
		{"its middle written", func(l *lost) { l.written(15, 25) }, true},
		{"cut in it", func(l *lost) { l.cut(20) }, true},
		{"cut before it", func(l *lost) { l.cut(10) }, false},
		{"closed", func(l *lost) { l.forget() }, false},
		{"another failure", func(l *lost) { l.failed(50, 60, full); l.written(0, 50) }, true},
	} {
		var l lost
		l.failed(10, 30, full)
		c.do(&l)
		if got := l.error() != nil; got != c.lost {
			t.Errorf("%s: lost = %v; want %v", c.name, got, c.lost)
		}
	}
}
