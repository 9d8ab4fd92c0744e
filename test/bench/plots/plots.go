// Package plots draws line plots as SVG for the documentation, all in one style.
package plots

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a plot, as wide as the text of a page.
const (
	width  = 7.5 * vg.Inch
	height = 4.5 * vg.Inch
	// rightMargin is space for the half of the last label beyond the axis.
	rightMargin = vg.Length(20)
	// margin is the space at the other sides.
	margin = vg.Length(6)
)

// Plot is a line plot.
type Plot struct {
	Title string
	// X and Y are the labels of the axes, with units.
	X, Y string
	// Note is small text at the bottom about the measurement.
	Note string
	// XTicks and YTicks are the ticks of the axes; nil for automatic ones.
	XTicks, YTicks []plot.Tick
	// LogX and LogY select logarithmic axes. All values on them must be above 0.
	LogX, LogY bool
	// YFromZero makes a Y axis that is not logarithmic start at 0, so that heights are
	// comparable.
	YFromZero bool
	// LegendBelow puts the legend in the lower right corner instead of the upper left one.
	LegendBelow bool
	Lines       []Line
}

// Line is a line of a Plot.
type Line struct {
	Name   string
	Points plotter.XYs
}

// style distinguishes lines, also for color-blind readers. The colors are those of Okabe
// and Ito (https://jfly.uni-koeln.de/color/), in an order in which their lightness
// differs too.
var style = []struct {
	color  color.Color
	dashes []vg.Length
}{
	{color.RGBA{R: 0x56, G: 0xB4, B: 0xE9, A: 0xff}, nil},
	{color.RGBA{R: 0x00, G: 0x72, B: 0xB2, A: 0xff}, nil},
	{color.RGBA{R: 0xD5, G: 0x5E, B: 0x00, A: 0xff}, []vg.Length{vg.Points(6), vg.Points(2)}},
	{color.RGBA{R: 0x00, G: 0x00, B: 0x00, A: 0xff}, []vg.Length{vg.Points(2), vg.Points(2)}},
}

// Write draws the plot into a file and creates its directory if necessary.
func (p Plot) Write(path string) error {
	drawn, err := p.draw()
	if err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	canvas := vgsvg.New(margin+width+rightMargin, height+2*margin)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Path())
	drawn.Draw(draw.Crop(whole, margin, -rightMargin, margin, -margin))
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	// Other fonts have the same widths and are available where this one is not.
	svg := bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a directory of the repository
		return err
	}
	return os.WriteFile(path, svg, 0o644) //nolint:gosec // a file of the repository
}

func (p Plot) draw() (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text, drawn.X.Label.Text, drawn.Y.Label.Text = p.Title, p.X, p.Y
	if p.Note != "" {
		drawn.X.Label.Text += "\n" + p.Note
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xdd}, color.Gray{Y: 0xdd}
	drawn.Add(grid)
	for n, line := range p.Lines {
		if err := p.check(line); err != nil {
			return nil, err
		}
		of, err := plotter.NewLine(p.scaled(line.Points))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line.Name, err)
		}
		of.Width = vg.Points(2)
		of.Color, of.Dashes = style[n%len(style)].color, style[n%len(style)].dashes
		drawn.Add(of)
		drawn.Legend.Add(line.Name, of)
	}
	mark(&drawn.X, p.XTicks, p.LogX)
	mark(&drawn.Y, p.YTicks, p.LogY)
	if p.YFromZero && drawn.Y.Max > 0 {
		step := tickStep(drawn.Y.Max)
		drawn.Y.Min, drawn.Y.Max = 0, step*math.Ceil(drawn.Y.Max/step)
		drawn.Y.Tick.Marker = stepTicks(step)
	}
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Legend.XOffs, drawn.Legend.YOffs = vg.Points(8), -vg.Points(4)
	if p.LegendBelow {
		drawn.Legend.Top, drawn.Legend.Left = false, false
		drawn.Legend.XOffs, drawn.Legend.YOffs = -vg.Points(8), vg.Points(4)
	}
	drawn.Legend.Padding = vg.Points(3)
	drawn.Title.Padding = vg.Points(8)
	for font, size := range map[*font.Font]vg.Length{
		&drawn.Title.TextStyle.Font:   vg.Points(14),
		&drawn.X.Label.TextStyle.Font: vg.Points(11), &drawn.Y.Label.TextStyle.Font: vg.Points(11),
		&drawn.X.Tick.Label.Font: vg.Points(10), &drawn.Y.Tick.Label.Font: vg.Points(10),
		&drawn.Legend.TextStyle.Font: vg.Points(11),
	} {
		font.Variant, font.Size = "Sans", size
	}
	return drawn, nil
}

// check returns an error for points that cannot be drawn.
func (p Plot) check(line Line) error {
	if len(line.Points) == 0 {
		return fmt.Errorf("%s: no points", line.Name)
	}
	for _, point := range line.Points {
		if p.YFromZero && point.Y < 0 {
			return fmt.Errorf("%s: (%g, %g) is below 0", line.Name, point.X, point.Y)
		}
		if p.LogX && point.X <= 0 || p.LogY && point.Y <= 0 {
			return fmt.Errorf("%s: (%g, %g) is not valid on a logarithmic axis", line.Name, point.X, point.Y)
		}
	}
	return nil
}

// scaled returns the points as drawn, with logarithms. The library's own logarithmic scale
// leaves the space for the axis labels in the wrong place.
func (p Plot) scaled(points plotter.XYs) plotter.XYs {
	scaled := slices.Clone(points)
	for n := range scaled {
		if p.LogX {
			scaled[n].X = math.Log10(scaled[n].X)
		}
		if p.LogY {
			scaled[n].Y = math.Log10(scaled[n].Y)
		}
	}
	return scaled
}

func mark(axis *plot.Axis, ticks []plot.Tick, logarithmic bool) {
	axis.Padding = 0
	switch {
	case logarithmic:
		axis.Tick.Marker = logarithmicTicks(ticks)
	case ticks != nil:
		axis.Tick.Marker = plot.ConstantTicks(ticks)
	}
}

// logarithmicTicks labels an axis of logarithms with the original values; nil selects 1, 2,
// 5, 10, 20, 50 and so on.
type logarithmicTicks []plot.Tick

// Ticks implements plot.Ticker.
func (t logarithmicTicks) Ticks(from, to float64) []plot.Tick {
	ticks := slices.Clone(t)
	for decade := math.Floor(from); t == nil && decade <= to; decade++ {
		for _, step := range []float64{1, 2, 5} {
			value := step * math.Pow(10, decade)
			ticks = append(ticks, plot.Tick{Value: value, Label: fmt.Sprintf("%g", value)})
		}
	}
	for n := range ticks {
		ticks[n].Value = math.Log10(ticks[n].Value)
	}
	return slices.DeleteFunc(ticks, func(tick plot.Tick) bool { return tick.Value < from || tick.Value > to })
}

// tickStep returns 1, 2 or 5 times a power of 10, so that there are 3 to 6 steps up to most.
func tickStep(most float64) float64 {
	atLeast := most / 6
	decade := math.Pow(10, math.Floor(math.Log10(atLeast)))
	for _, step := range []float64{1, 2, 5} {
		if step*decade >= atLeast {
			return step * decade
		}
	}
	return 10 * decade
}

// stepTicks labels an axis from 0 at each step.
type stepTicks float64

// Ticks implements plot.Ticker.
func (step stepTicks) Ticks(_, to float64) []plot.Tick {
	var ticks []plot.Tick
	// Half a step more, because rounding can make the last tick a little larger than to.
	for n := 0; float64(n)*float64(step) <= to+float64(step)/2; n++ {
		value := float64(n) * float64(step)
		ticks = append(ticks, plot.Tick{Value: value, Label: fmt.Sprintf("%.6g", value)})
	}
	return ticks
}
