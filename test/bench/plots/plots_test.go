package plots

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

func TestPlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "plot.svg")
	p := Plot{
		Title: "A title", X: "what is on x", Y: "what is on y", Note: "measured somewhere",
		XTicks: []plot.Tick{{Value: 10, Label: "ten"}}, LogX: true, LogY: true,
		Lines: []Line{
			{"first", plotter.XYs{{X: 1, Y: .5}, {X: 10, Y: 3}, {X: 100, Y: 20}}},
			{"second", plotter.XYs{{X: 1, Y: 1}, {X: 100, Y: 2}}},
		},
	}
	if err := p.Write(path); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(string(svg)))
	var text strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if characters, ok := token.(xml.CharData); ok {
			text.Write(characters)
		}
	}
	for _, want := range []string{p.Title, p.X, p.Y, p.Note, "first", "second", "ten", "0.5", "1", "2", "5", "10", "20"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the SVG does not contain %q", want)
		}
	}
	if !strings.Contains(string(svg), "Liberation Sans,Arial") || strings.Contains(string(svg), "Serif") {
		t.Error("the SVG lacks fallback fonts")
	}
}

func TestPlot_invalidData(t *testing.T) {
	for name, p := range map[string]Plot{
		"no points":             {Lines: []Line{{Name: "a line"}}},
		"below 0":               {YFromZero: true, Lines: []Line{{Name: "a line", Points: plotter.XYs{{X: 1, Y: 1}, {X: 2, Y: -1}}}}},
		"0 on logarithmic axis": {LogY: true, Lines: []Line{{Name: "a line", Points: plotter.XYs{{X: 1, Y: 0}, {X: 2, Y: 1}}}}},
	} {
		err := p.Write(filepath.Join(t.TempDir(), "plot.svg"))
		if err == nil || !strings.Contains(err.Error(), "a line") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPlot_linearTicks(t *testing.T) {
	for most, want := range map[float64]string{57: "0 10 20 30 40 50 60", 61: "0 20 40 60 80", 1.23: "0 0.5 1 1.5", 2: "0 0.5 1 1.5 2", .9: "0 0.2 0.4 0.6 0.8 1", 6: "0 1 2 3 4 5 6", 1e6: "0 200000 400000 600000 800000 1e+06"} {
		drawn, err := Plot{YFromZero: true, Lines: []Line{{"a line", plotter.XYs{{X: 1, Y: most / 2}, {X: 2, Y: most}}}}}.draw()
		if err != nil {
			t.Fatal(err)
		}
		var labels []string
		for _, tick := range drawn.Y.Tick.Marker.Ticks(drawn.Y.Min, drawn.Y.Max) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != want || drawn.Y.Min != 0 || drawn.Y.Max < most {
			t.Errorf("up to %g: got ticks %s from %g to %g, want %s", most, got, drawn.Y.Min, drawn.Y.Max, want)
		}
	}
}
