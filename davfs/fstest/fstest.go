// Package fstest holds the cases that every davfs.FileSystem must pass, wherever
// it runs: over a store, or through a client of a server.
//
// A case is a clause of the contract in davfs. It gets a file system and an
// empty directory in it, inside a collection, and returns an error where the
// file system breaks the clause, so the suite can be tried on ones that are
// broken on purpose.
package fstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"

	"keepdav/davfs"
)

// A Case is one clause.
type Case struct {
	Name  string
	Check func(ctx context.Context, f davfs.FileSystem, dir string) error
}

// Run checks the file systems that open makes, with a fresh directory for each case.
func Run(t *testing.T, open func(*testing.T) (f davfs.FileSystem, dir string)) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			f, dir := open(t)
			if err := c.Check(t.Context(), f, dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// Cases are all clauses.
var Cases = []Case{
	{"PutIsReadBack", putIsReadBack},
	{"EmptyFileIsAFile", emptyFileIsAFile},
	{"PutReplacesAllOfAFile", putReplaces},
	{"UploadIsUnseenBeforeCommit", uploadUnseen},
	{"AbortedUploadLeavesNothing", abortedUpload},
	{"ShortBodyIsRefused", shortBody},
	{"LongBodyIsRefused", longBody},
	{"PutWithoutParentNamesTheParent", putWithoutParent},
	{"PutOnADirectoryIsRefused", putOnDirectory},
	{"PutThroughAFileIsRefused", putThroughFile},
	{"CheckDecidesOverPut", checkDecidesOverPut},
	{"CheckIsAskedAtCommit", checkAtCommit},
	{"MissingFileIsBareErrNotExist", missingIsBare},
	{"TagFollowsContent", tagFollowsContent},
	{"MkdirMakesADirectory", mkdirMakes},
	{"MkdirOverSomethingIsRefused", mkdirOverSomething},
	{"ListIsSortedAndWhole", listSorted},
	{"ListIsASnapshot", listSnapshot},
	{"ListOfAFileIsRefused", listOfFile},
	{"RemoveTakesATree", removeTree},
	{"RemoveObeysItsCheck", removeCheck},
	{"MoveKeepsContent", moveKeeps},
	{"MoveTakesATree", moveTree},
	{"MoveOverNeedsOverwrite", moveOver},
	{"MoveIntoItselfIsRefused", moveIntoItself},
	{"MoveOfNothingIsRefused", moveOfNothing},
	{"CopyIsIndependent", copyIndependent},
	{"CopyTakesATree", copyTree},
	{"ShallowCopyIsEmpty", shallowCopy},
	{"CopyOverReplacesATree", copyOver},
	{"CopyToItselfChangesNothing", copyToItself},
	{"WriteAtChangesTheMiddle", writeAtMiddle},
	{"WriteAtAppends", writeAtAppends},
	{"WriteAtBeyondTheEndReadsZeros", writeAtBeyond},
	{"WriteAtOfACutBodyChangesNothing", writeAtCut},
	{"WriteAtOfNothingIsRefused", writeAtMissing},
	{"AttributesAreKept", attributesKept},
	{"AttributesFollowMoveAndCopy", attributesFollow},
	{"AttributesDieWithTheFile", attributesDie},
	{"ReplacedFileKeepsExtraButSums", replacedKeepsExtra},
	{"OpenFileKeepsItsContent", openKeepsContent},
	{"ReadAtFollowsIOReaderAt", readAtContract},
	{"WriteRangeCopiesExactly", writeRange},
	{"NamesAreBytes", namesAreBytes},
	{"NamesHaveALimit", namesHaveALimit},
	{"ComposedAndDecomposedNamesAreOne", composedNames},
	{"SumsAreRight", sumsAreRight},
	{"CountStopsAtItsLimit", countLimit},
	{"WhereIsWhatInfoSays", whereIsInfo},
	{"ConcurrentPutsLeaveOneWhole", concurrentPuts},
	{"ConcurrentPutsOfManyNamesAllStay", concurrentNames},
	{"ChecksMakePutsExclusive", checksExclusive},
}

// put writes a file.
func put(ctx context.Context, f davfs.FileSystem, name, data string) (davfs.Info, bool, error) {
	return putWith(ctx, f, name, data, davfs.PutOptions{Size: int64(len(data))})
}

func putWith(ctx context.Context, f davfs.FileSystem, name, data string, o davfs.PutOptions) (davfs.Info, bool, error) {
	up, err := f.Put(ctx, name, o)
	if err != nil {
		return davfs.Info{}, false, err
	}
	defer up.Abort()
	if _, err := io.Copy(up, strings.NewReader(data)); err != nil {
		return davfs.Info{}, false, err
	}
	return up.Commit(ctx)
}

// get reads a file.
func get(ctx context.Context, f davfs.FileSystem, name string) (string, error) {
	file, err := f.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var b bytes.Buffer
	size := file.Info().Size
	n, err := file.WriteRange(ctx, &b, 0, size)
	if err == nil && n != size {
		err = fmt.Errorf("WriteRange(%s, 0, %d) = %d bytes", name, size, n)
	}
	return b.String(), err
}

// names lists a directory.
func names(ctx context.Context, f davfs.FileSystem, dir string) ([]string, error) {
	l, err := f.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var all []string
	batch := make([]davfs.Info, 3)
	for {
		n, err := l.Next(batch)
		if err != nil || n == 0 {
			return all, err
		}
		for _, i := range batch[:n] {
			name := i.Name
			if i.Dir {
				name += "/"
			}
			all = append(all, name)
		}
	}
}

// The steps of a case: each returns nil or says what is wrong.

func mustPut(ctx context.Context, f davfs.FileSystem, name, data string) error {
	if _, _, err := put(ctx, f, name, data); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

func mustMkdir(ctx context.Context, f davfs.FileSystem, name string) error {
	if _, err := f.Mkdir(ctx, name, davfs.AttrChange{}); err != nil {
		return fmt.Errorf("mkdir %s: %w", name, err)
	}
	return nil
}

func wantContent(ctx context.Context, f davfs.FileSystem, name, want string) error {
	got, err := get(ctx, f, name)
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	if got != want {
		return fmt.Errorf("get %s = %s; want %s", name, short(got), short(want))
	}
	i, err := f.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	if i.Dir || i.Size != int64(len(want)) || i.Name != path.Base(name) {
		return fmt.Errorf("stat %s = name %q, dir %v, size %d; want a file of size %d", name, i.Name, i.Dir, i.Size, len(want))
	}
	return nil
}

func short(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%q… (%d bytes)", s[:60], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func wantNames(ctx context.Context, f davfs.FileSystem, dir string, want ...string) error {
	got, err := names(ctx, f, dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		return fmt.Errorf("list %s = %q; want %q", dir, got, want)
	}
	return nil
}

func wantErr(what string, err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: error %v; want one that matches %v", what, err, want)
	}
	return nil
}

func wantMissing(ctx context.Context, f davfs.FileSystem, name string) error {
	_, err := f.Stat(ctx, name)
	return wantErr("stat "+name, err, fs.ErrNotExist)
}

// first returns the first error of a list of steps.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
