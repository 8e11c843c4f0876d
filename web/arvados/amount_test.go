package arvados

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// heapOf returns by how much the heap grows while fn runs, in bytes that are allocated.
func heapOf(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestAShortRequestDoesNotMakeMillionsOfFiles(t *testing.T) {
	e := newEnv(t)
	text := strings.Builder{}
	text.WriteString(". d41d8cd98f00b204e9800998ecf8427e+0")
	for i := range 1500 {
		fmt.Fprintf(&text, " 0:0:f%d", i)
	}
	id := e.create("alice", "c", text.String()+"\n")
	files := make(map[string]string)
	for i := range 1500 {
		files[fmt.Sprintf("/d%d", i)] = "current/"
	}
	body := `{"replace_files":` + quoted(files) + `}`
	var status int
	if n := heapOf(func() { status, _ = e.do("alice", "PATCH", "collections/"+id, body) }); status != http.StatusUnprocessableEntity || n > 64<<20 {
		t.Errorf("1500 copies of 1500 files = %d, and took %d MiB", status, n>>20)
	}
}

func TestManySmallValuesTakeNoMemory(t *testing.T) {
	a := echoAPI(t)
	body := `{"":1` + strings.Repeat(`,"":1`, maxValues) + "}"
	var status int
	if n := heapOf(func() { status, _, _ = call(t, a, newRequest("POST", "/arvados/v1/things", "application/json", body)) }); status != http.StatusRequestEntityTooLarge || n > 4*uint64(len(body)) {
		t.Errorf("%d values = %d, and took %d MiB", maxValues, status, n>>20)
	}
	p := Params{"list": {text: `[""` + strings.Repeat(`,""`, maxValues) + "]"}}
	var list []string
	if n := heapOf(func() { status = errorOf(p.JSON("list", &list)).Status }); status != http.StatusRequestEntityTooLarge || n > 8<<20 {
		t.Errorf("a list of %d values = %d, and took %d MiB", maxValues, status, n>>20)
	}
	form := newRequest("POST", "/arvados/v1/things", formKind, strings.Repeat("&a=", maxParts+1))
	if status, _, got := call(t, a, form); status != http.StatusBadRequest {
		t.Errorf("a form of many fields = %d %v", status, got["errors"])
	}
}

func TestValuesAreCountedOutsideOfStrings(t *testing.T) {
	for text, want := range map[string]int{
		`[]`: 1, `[1,2,3]`: 3, `{"a":[1,{"b":2}]}`: 4, `{"a":",[{\",","b":"\\","c":1}`: 3, `"unfinished,\`: 0,
	} {
		if got := valuesOf([]byte(text)); got != want {
			t.Errorf("valuesOf(%s) = %d; want %d", text, got, want)
		}
	}
}

func TestLongDescriptionsAreRefused(t *testing.T) {
	e := newGroupsEnv(t)
	id := e.create("alice", "c", "")
	project := e.project(e.users["alice"], "p")
	for path, record := range map[string]string{"collections/" + id: "collection", "groups/" + string(project): "group"} {
		for n, want := range map[int]int{maxDescription: http.StatusOK, maxDescription + 1: http.StatusUnprocessableEntity} {
			body := `{"` + record + `":{"description":` + quoted(strings.Repeat("x", n)) + "}}"
			if status, got := e.do("alice", "PATCH", path, body); status != want {
				t.Errorf("%s with a description of %d bytes = %d %v; want %d", record, n, status, got["errors"], want)
			}
		}
	}
}

func TestDeepPathsDoNotTakeMinutes(t *testing.T) {
	e := newEnv(t)
	id := e.create("alice", "c", "")
	files := make(map[string]string)
	for i := range 10 {
		files[fmt.Sprintf("/%d", i)+strings.Repeat("/d", 16000)] = ""
	}
	if status, got := e.do("alice", "PATCH", "collections/"+id, `{"replace_files":`+quoted(files)+`}`); status != http.StatusBadRequest {
		t.Errorf("ten paths with 16000 directories each = %d %v", status, got["errors"])
	}
}
