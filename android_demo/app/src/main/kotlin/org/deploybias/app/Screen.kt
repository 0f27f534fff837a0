package org.deploybias.app

import android.content.Context
import android.graphics.Color
import android.graphics.Typeface
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.LinearLayout
import android.widget.Spinner
import android.widget.TextView

/** A screen: views one below the other, made in code. */
abstract class Screen(
    context: Context,
) : LinearLayout(context) {
    private val choices = mutableListOf<Spinner>()

    /** What is picked in each choice; for a screen that takes the place of this one. */
    var picked: IntArray
        get() = IntArray(choices.size) { choices[it].selectedItemPosition }
        set(positions) = choices.forEachIndexed { i, choice -> choice.setSelection(positions[i]) }

    init {
        orientation = VERTICAL
        val edge = dp(16)
        setPadding(edge, edge, edge, edge)
    }

    /** Shows the state of its job. */
    abstract fun refresh()

    protected fun dp(size: Int): Int = (size * resources.displayMetrics.density).toInt()

    protected fun text(
        size: Float = 16f,
        style: Int = Typeface.NORMAL,
        color: Int = INK,
    ) = TextView(context).apply {
        textSize = size
        setTypeface(typeface, style)
        setTextColor(color)
        setPadding(0, dp(8), 0, dp(8))
    }

    protected fun button(
        label: String,
        click: () -> Unit,
    ) = Button(context).apply {
        text = label
        isAllCaps = false
        setOnClickListener { click() }
    }

    protected fun choice(options: List<String>) =
        Spinner(context).apply {
            choices += this
            adapter =
                ArrayAdapter(context, android.R.layout.simple_spinner_item, options).apply {
                    setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
                }
        }

    protected fun row(vararg views: View) =
        LinearLayout(context).apply {
            for (view in views) {
                addView(
                    view,
                    LayoutParams(
                        if (view is Spinner) 0 else WRAP_CONTENT,
                        WRAP_CONTENT,
                        if (view is Spinner) 1f else 0f,
                    ),
                )
            }
        }

    protected fun add(
        view: View,
        weight: Float = 0f,
    ) = addView(view, LayoutParams(MATCH_PARENT, if (weight > 0) 0 else WRAP_CONTENT, weight))

    companion object {
        val INK = Color.rgb(0x20, 0x24, 0x2c)
        val FAINT = Color.rgb(0x6a, 0x70, 0x7c)
        val GOOD = Color.rgb(0x1b, 0x7f, 0x3b)
        val BAD = Color.rgb(0xb3, 0x26, 0x1e)
    }
}
