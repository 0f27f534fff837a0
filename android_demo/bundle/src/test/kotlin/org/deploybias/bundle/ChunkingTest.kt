package org.deploybias.bundle

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Test

class ChunkingTest {
    @Test
    fun `edges are mirrored as numpy does`() {
        val signal = floatArrayOf(1f, 2f, 3f)
        assertArrayEquals(floatArrayOf(3f, 2f, 1f, 2f, 3f), reflected(signal, 2, 0))
        assertArrayEquals(floatArrayOf(1f, 2f, 3f, 2f, 1f, 2f, 3f), reflected(signal, 0, 4))
        assertArrayEquals(floatArrayOf(7f, 7f, 7f), reflected(floatArrayOf(7f), 1, 1))
    }
}
