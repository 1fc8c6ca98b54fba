package dev.spiq.classify

import android.Manifest
import android.os.Bundle
import android.view.Gravity
import android.widget.FrameLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import java.util.concurrent.Executors

/** Shows what the camera sees, and what the model takes it for. */
class MainActivity : ComponentActivity() {

    private val worker = Executors.newSingleThreadExecutor()
    private val classifier = lazy { Classifier(assets, "model.tflite") }
    private lateinit var view: PreviewView
    private lateinit var text: TextView

    private val permission =
        registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
            if (granted) start() else text.text = "The camera is not allowed."
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        view = PreviewView(this)
        text = TextView(this).apply {
            textSize = 24f
            gravity = Gravity.CENTER
        }
        setContentView(FrameLayout(this).apply {
            addView(view)
            addView(text)
        })
        permission.launch(Manifest.permission.CAMERA)
    }

    override fun onDestroy() {
        worker.execute { if (classifier.isInitialized()) classifier.value.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun start() {
        val provider = ProcessCameraProvider.getInstance(this)
        provider.addListener({ bind(provider.get()) }, ContextCompat.getMainExecutor(this))
    }

    private fun bind(cameras: ProcessCameraProvider) {
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(view.surfaceProvider)
        val analysis = ImageAnalysis.Builder()
            .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
            .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
            .build()
        analysis.setAnalyzer(worker) { image -> image.use { show(it) } }
        cameras.bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, preview, analysis)
    }

    private fun show(image: ImageProxy) {
        val found = classifier.value.classify(image.toBitmap(), image.imageInfo.rotationDegrees)
        runOnUiThread { text.text = "%s %.2f".format(found.label, found.score) }
    }
}
