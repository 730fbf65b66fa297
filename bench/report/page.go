package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.js
	pageScript string
	// uPlot 1.6.32, MIT, as published on npm; uPlot.LICENSE.
	//go:embed uPlot.iife.min.js
	plotScript string
	//go:embed uPlot.min.css
	plotStyle string
)

// WriteHTML writes the result as one page that loads nothing.
func (r *Result) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"thousands": func(n any) (string, error) {
			switch n := n.(type) {
			case int:
				return thousands(int64(n)), nil
			case int64:
				return thousands(n), nil
			}
			return "", fmt.Errorf("%T is no whole number", n)
		},
		"micros": micros,
		"num":    func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) },
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	// json.Marshal escapes <, > and &, so the text cannot end its element.
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		R               *Result
		Rate            int64
		Style           template.CSS
		Library, Script template.JS
		Data            template.JS
	}{r, int64(r.OpsPerSecond), template.CSS(plotStyle), template.JS(plotScript), template.JS(pageScript), template.JS(data)})
}
