package query

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

var attrs = Attrs{"uuid": Text, "name": Text, "version": Number, "trashed": Bool, "at": Time, "properties": Object, "classes": Array}

var record = map[string]any{
	"uuid": "zzzzz-4zz18-000000000000001", "name": "A 100% name_x", "version": int64(3), "trashed": false,
	"at": time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), "classes": []string{"default", "hot"},
	"properties": json.RawMessage(`{"k":"v","n":7,"yes":true,"list":["a","b"],"null":null}`),
}

func TestFiltersSayWhatHolds(t *testing.T) {
	for _, c := range []struct {
		filter string
		want   bool
	}{
		{`["name","=","A 100% name_x"]`, true},
		{`["name","=","a 100% name_x"]`, false},
		{`["name","!=","x"]`, true},
		{`["name","!=",null]`, true},
		{`["name","=",null]`, false},
		{`["missing","=",null]`, true},
		{`["missing","!=","x"]`, true},
		{`["missing","not in",["x"]]`, true},
		{`["missing","<","x"]`, false},
		{`["missing","like","%"]`, false},
		{`["name","like","A%"]`, true},
		{`["name","like","a%"]`, false},
		{`["name","ilike","a%NAME_x"]`, true},
		{`["name","like","A 100\\% name\\_x"]`, true},
		{`["name","like","A 10\\%%"]`, false},
		{`["name","like","%e_x%"]`, true},
		{`["name","like",""]`, false},
		{`["version","=",3]`, true},
		{`["version","<",3]`, false},
		{`["version","<=",3]`, true},
		{`["version",">",2.5]`, true},
		{`["version",">=",4]`, false},
		{`["version","in",[1,3]]`, true},
		{`["version","IN",[]]`, false},
		{`["version","Not In",[]]`, true},
		{`["trashed","=",false]`, true},
		{`["at","=","2026-01-02T03:04:05.0000006Z"]`, true},
		{`["at",">","2026-01-02T04:04:05+01:00"]`, true},
		{`["at","<","2026-01-03"]`, true},
		{`["uuid","is_a","arvados#collection"]`, true},
		{`["uuid","is_a",["arvados#group","arvados#collection"]]`, true},
		{`["uuid","is_a",["arvados#group"]]`, false},
		{`["properties.k","=","v"]`, true},
		{`["properties.<k>","=","v"]`, true},
		{`["properties.k","like","_"]`, true},
		{`["properties.n","<",8]`, true},
		{`["properties.n","<","8"]`, false},
		{`["properties.yes","=",true]`, true},
		{`["properties.k","exists",true]`, true},
		{`["properties.x","exists",false]`, true},
		{`["properties.null","exists",true]`, true},
		{`["properties","exists","k"]`, true},
		{`["properties","exists","x"]`, false},
		{`["properties.list","contains","b"]`, true},
		{`["properties.list","contains","c"]`, false},
		{`["properties.k","contains","v"]`, true},
		{`["properties","contains",{"list":"a"}]`, true},
		{`["properties","contains","k"]`, true},
		{`["properties.x","=",null]`, true},
		{`["classes","contains","hot"]`, true},
		{`["classes","contains","cold"]`, false},
	} {
		a := attrs
		a["missing"] = Text
		fs, err := ReadFilters([]byte("["+c.filter+"]"), a)
		if err != nil {
			t.Errorf("ReadFilters(%s): %v", c.filter, err)
			continue
		}
		if got := fs[0].Match(record[fs[0].Attr]); got != c.want {
			t.Errorf("%s holds: %v; want %v", c.filter, got, c.want)
		}
	}
}

func TestFiltersThatNobodyCanAnswerAreRefused(t *testing.T) {
	for _, f := range []string{
		`{}`, `[1]`, `[[]]`, `[["name","="]]`, `[[1,"=","x"]]`, `[["name",1,"x"]]`, `[["nothing","=","x"]]`, `[["name","==","x"]]`,
		`[["name","=",1]]`, `[["version","=","one"]]`, `[["trashed","=","no"]]`, `[["at","=","soon"]]`, `[["at","<",null]]`, `[["name","in","x"]]`,
		`[["name","in",[1]]]`, `[["version","like","x"]]`, `[["name","like",1]]`, `[["version","is_a","x"]]`, `[["uuid","is_a",[1]]]`, `[["name","exists","x"]]`,
		`[["properties","=","x"]]`, `[["properties.","=","x"]]`, `[["properties.k","exists","x"]]`, `[["properties.k","=",[1]]]`, `[["name","contains","x"]]`,
		`[["classes","contains",1]]`, `[["classes","=","x"]]`, `[["classes","in",["x"]]]`, `[["properties","contains",{}]]`,
	} {
		if _, err := ReadFilters([]byte(f), attrs); !errors.Is(err, ErrInvalid) {
			t.Errorf("ReadFilters(%s): %v; want ErrInvalid", f, err)
		}
	}
}

func FuzzFilters(f *testing.F) {
	f.Add([]byte(`[["name","like","%a_\\"],["properties.k","contains","v"]]`), "name desc")
	f.Fuzz(func(t *testing.T, text []byte, order string) {
		fs, err := ReadFilters(text, attrs)
		o, oerr := ReadOrder(order, attrs)
		if err != nil && !errors.Is(err, ErrInvalid) || oerr != nil && !errors.Is(oerr, ErrInvalid) {
			t.Fatalf("ReadFilters, ReadOrder: %v, %v", err, oerr)
		}
		Run(Query{Filters: fs, Order: o, Limit: 3}, []map[string]any{record, {}}, func(r map[string]any, attr string) any { return r[attr] })
	})
}
