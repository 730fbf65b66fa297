package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// decodeJSON reads data into v, which points to a struct or a slice of structs.
// Its errors are for the person who wrote the JSON: they name the field, and
// never a Go type. With strict, a field that v does not have is an error.
func decodeJSON(data []byte, v any, strict bool) error {
	err := unmarshal(data, v, strict)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %s", position(data, syntax.Offset), syntax)
	case errors.As(err, &kind):
		return explainKind(kind)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if strings.HasPrefix(text, "unknown field") {
		return fmt.Errorf("%s; known are %s", text, strings.Join(fieldNames(v), ", "))
	}
	return errors.New(text)
}

func unmarshal(data []byte, v any, strict bool) error {
	if !strict {
		return json.Unmarshal(data, v)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: something follows the end of the JSON", position(data, d.InputOffset()))
	}
	return nil
}

// position turns a byte offset into what editors show.
func position(data []byte, offset int64) string {
	before := data[:min(max(int(offset), 0), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return fmt.Sprintf("line %d, column %d", line, max(column, 1))
}

func explainKind(e *json.UnmarshalTypeError) error {
	got := e.Value
	if number, ok := strings.CutPrefix(got, "number "); ok {
		got = number
	}
	want := "an object"
	switch e.Type.Kind() {
	case reflect.String:
		want = "text in quotes"
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice:
		want = "a list"
	case reflect.Float64:
		want = "a number"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		want = fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<e.Type.Bits()-1)
	}
	if e.Field == "" {
		return fmt.Errorf("got %s, want %s", got, want)
	}
	return fmt.Errorf("%s: got %s, want %s", e.Field, got, want)
}

// fieldNames lists the JSON fields of the struct that v points to, or of the
// items of the slice.
func fieldNames(v any) []string {
	t := reflect.TypeOf(v).Elem()
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
