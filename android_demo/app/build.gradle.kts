import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
    alias(libs.plugins.kotlin.serialization)
}

android {
    namespace = "org.deploybias.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.deploybias.app"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk {
            // executorch-android has no others.
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }

    androidResources {
        // They hardly get smaller, and are copied faster as they are.
        noCompress += listOf("onnx", "pte", "safetensors", "wav")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    packaging {
        // Both runtimes bring one.
        jniLibs.pickFirsts += "**/libc++_shared.so"
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
    }
}

dependencies {
    implementation(project(":bundle"))
    implementation(libs.onnxruntime.android)
    // Brings fbjni, soloader and androidx.core.
    implementation(libs.executorch.android)

    androidTestImplementation(libs.junit4)
    androidTestImplementation(libs.androidx.test.runner)
}
