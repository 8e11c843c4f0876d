package dav

import (
	"encoding/json"
	"unicode/utf8"
)

// plainPlace is a LockPlace without methods.
type plainPlace LockPlace

// placeJSON is a LockPlace in JSON, whose strings cannot hold the bytes of every
// name: those of which they would make something else are there as bytes too.
type placeJSON struct {
	plainPlace
	PathBytes []byte `json:",omitempty"`
	NameBytes []byte `json:",omitempty"`
}

// MarshalJSON keeps the names to the byte, for stores that write locks as JSON.
func (p LockPlace) MarshalJSON() ([]byte, error) {
	return json.Marshal(placeJSON{plainPlace(p), unlessText(p.Path), unlessText(p.Name)})
}

// UnmarshalJSON undoes MarshalJSON.
func (p *LockPlace) UnmarshalJSON(data []byte) error {
	var j placeJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = LockPlace(j.plainPlace)
	if j.PathBytes != nil {
		p.Path = string(j.PathBytes)
	}
	if j.NameBytes != nil {
		p.Name = string(j.NameBytes)
	}
	return nil
}

func unlessText(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}
